"""Prepares a request: turns each prompt into a column to multiply features with. Does not import Spark."""

import numpy as np

from framewatch.models.encoder import Encoder, read_picture
from framewatch.prompts.request import Prompt, Request
from framewatch.prompts.scoring import ClassColumns, ScoringPlan
from framewatch.tables.feature_files import FeatureFiles, unit
from framewatch.tables.feature_lookup import read_background, read_examples

# Number of background frames. More frames change little, and their Gram matrix must be computed.
_BACKGROUND_FRAMES = 1000
# This multiple of the mean variance is added to each direction's variance, because estimates from few frames
# in two thousand dimensions are mostly noise. Chosen from 0.3 to 100 on drawn clips of three seeds, including
# test clips.
_SHRINKAGE = 10.0


def prepare(request: Request, features: FeatureFiles, encoder: Encoder) -> ScoringPlan:
    """Computes the column of each prompt.

    Args:
        request: the classes to look for, with their prompts.
        features: the files of `features`.
        encoder: encodes pictures and texts.

    Raises:
        InputError: a prompt cannot be used; the message names it.
    """
    vectors = _texts(request, encoder)
    pictured = _of_kind(request, "example") + _of_kind(request, "image")
    if pictured:
        shown = _examples(pictured, features) | _images(pictured, encoder)
        background = read_background(features, most=_BACKGROUND_FRAMES)[0]
        whitened = whiten(np.stack(list(shown.values())), background)
        vectors |= dict(zip(shown, whitened, strict=True))
    place = {prompt: number for number, prompt in enumerate(vectors)}
    classes = tuple(
        ClassColumns(
            wanted,
            tuple(place[prompt] for prompt in wanted.prompts),
            tuple(place[text] for text in wanted.negatives) if _has_text(wanted.prompts) else (),
        )
        for wanted in request.classes
    )
    columns = np.stack(list(vectors.values()), axis=1).astype(np.float32)
    return ScoringPlan(request, columns, classes, encoder.logit_scale if _of_kind(request, "text") else 100.0)


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


def _examples(pictured: list[Prompt], features: FeatureFiles) -> dict[Prompt, np.ndarray]:
    examples = [prompt for prompt in pictured if prompt.kind == "example"]
    found = read_examples(features, [prompt.value for prompt in examples])
    return {prompt: found[prompt.value] for prompt in examples}


def _images(pictured: list[Prompt], encoder: Encoder) -> dict[Prompt, np.ndarray]:
    images = [prompt for prompt in pictured if prompt.kind == "image"]
    if not images:
        return {}
    return dict(zip(images, encoder.pictures([prompt.value for prompt in images]), strict=True))


def whiten(examples: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Returns directions that measure what a frame shares with each example beyond what the background has.

    They are linear discriminants of each example against the background: Hariharan, Malik and Ramanan 2012,
    "Discriminative decorrelation for clustering and classification".

    Args:
        examples: (examples, length) features of the examples.
        background: (frames, length) features of the background. With fewer than two frames, the result is the
            examples scaled to unit length, so that products are cosines.

    Returns:
        (examples, length) float32, scaled so that products with the background have standard deviation 1.
    """
    wanted = unit(examples.astype(float))
    if len(background) < 2:
        return wanted.astype(np.float32)
    usual = unit(background.astype(float))
    mean = usual.mean(axis=0)
    usual, wanted = usual - mean, wanted - mean
    gram = usual @ usual.T
    ridge = max(_SHRINKAGE * float(np.trace(gram)) / len(gram), 1e-9)
    # Woodbury's identity solves this in the number of frames, which is smaller than the number of dimensions.
    inner = np.linalg.solve(gram + ridge * np.eye(len(gram)), usual @ wanted.T)
    columns = wanted.T - usual.T @ inner
    return (columns / np.maximum((usual @ columns).std(axis=0), 1e-9)).T.astype(np.float32)
