"""Prepares a request: turns each prompt into a column to multiply features with. Does not import Spark."""

import numpy as np

from framewatch.models.encoder import Encoder, read_picture
from framewatch.models.similarity import Similarity, unit
from framewatch.prompts.frame_runs import Project
from framewatch.prompts.request import Prompt, Request
from framewatch.prompts.scoring import ClassColumns, ScoringPlan
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.feature_lookup import read_background, read_examples

# Number of frames that the similarity is fitted to. More frames change little.
_BACKGROUND_FRAMES = 1000


def prepare(request: Request, features: FeatureFiles, encoder: Encoder) -> ScoringPlan:
    """Computes the column of each prompt.

    Args:
        request: the classes to look for, with their prompts.
        features: the files of `features`.
        encoder: encodes pictures and texts.

    Raises:
        InputError: a prompt cannot be used; the message names it.
    """
    texts = _texts(request, encoder)
    pictures = {**_examples(request, features), **_images(request, encoder)}
    similarity, vectors = Similarity.plain(0), np.empty((0, 0), np.float32)
    if pictures:
        # A camera's usual similarity is subtracted later, so that scenes need not be.
        background = read_background(features, most=_BACKGROUND_FRAMES)
        similarity = Similarity.fit(*background, centre="footage")
        vectors = similarity.vectors(np.stack(list(pictures.values())))
    place = {prompt: number for number, prompt in enumerate([*texts, *pictures])}
    columns, classes = list(vectors), []
    for wanted in request.classes:
        shown = [place[prompt] for prompt in wanted.prompts if prompt in pictures]
        together = None
        if shown:
            together = len(texts) + len(columns)
            columns.append(unit(vectors[np.array(shown) - len(texts)].mean(axis=0, keepdims=True))[0])
        classes.append(
            ClassColumns(
                wanted,
                tuple(place[prompt] for prompt in wanted.prompts),
                tuple(place[text] for text in wanted.negatives) if _has_text(wanted.prompts) else (),
                together,
            )
        )
    project = Project(_columns(list(texts.values())), _columns(columns), similarity)
    scale = encoder.logit_scale if _of_kind(request, "text") else 100.0
    return ScoringPlan(request, project, tuple(classes), scale)


def _columns(vectors: list[np.ndarray]) -> np.ndarray:
    if not vectors:
        return np.empty((0, 0), np.float32)
    return np.stack(vectors, axis=1).astype(np.float32)


def check(request: Request, features: FeatureFiles, encoder: Encoder) -> None:
    """Checks that all prompts can be used, without loading a network.

    Raises:
        InputError: a prompt cannot be used; the message names it.
    """
    for text in _of_kind(request, "text"):
        encoder.require_texts(text.value)
    read_examples(features, [prompt.value for prompt in _of_kind(request, "example")])
    for image in _of_kind(request, "image"):
        read_picture(image.value, encoder.max_pixels)


def _has_text(prompts: tuple[Prompt, ...]) -> bool:
    return any(prompt.kind == "text" for prompt in prompts)


def _of_kind(request: Request, kind: str) -> list[Prompt]:
    """Returns the prompts of one kind, without duplicates."""
    return list(
        dict.fromkeys(
            prompt for wanted in request.classes for prompt in wanted.prompts if prompt.kind == kind
        )
    )


def _texts(request: Request, encoder: Encoder) -> dict[Prompt, np.ndarray]:
    wanted = _of_kind(request, "text")
    if not wanted:
        return {}
    negatives = [
        negative
        for prompt_class in request.classes
        if _has_text(prompt_class.prompts)
        for negative in prompt_class.negatives
    ]
    texts = list(dict.fromkeys([*wanted, *negatives]))
    return dict(zip(texts, encoder.texts([text.value for text in texts]), strict=True))


def _examples(request: Request, features: FeatureFiles) -> dict[Prompt, np.ndarray]:
    examples = _of_kind(request, "example")
    found = read_examples(features, [prompt.value for prompt in examples])
    return {prompt: found[prompt.value] for prompt in examples}


def _images(request: Request, encoder: Encoder) -> dict[Prompt, np.ndarray]:
    images = _of_kind(request, "image")
    if not images:
        return {}
    return dict(zip(images, encoder.pictures([prompt.value for prompt in images]), strict=True))
