"""Defines queries and filters of moments. Does not import Spark."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from framewatch.errors import InputError
from framewatch.models.similarity import unit
from framewatch.search.moment_vectors import SCOPES

Kind = Literal["frame", "image", "clip", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
_WEIGHT = re.compile(r"^(.*\S)\s*\*\s*([-+]?\d+(?:\.\d+)?)$", re.DOTALL)
_CLIP = re.compile(r"^(.+)@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$", re.DOTALL)


@dataclass(frozen=True)
class QueryPart:
    """One query term; results should resemble it, or differ from it if its weight is negative.

    Attributes:
        kind: `frame`, `image`, `clip` or `text`.
        value: a frame's origin or the end of it, an image file, VIDEO@FROM-TO in seconds, or words.
        weight: weight of the term in the sum of all terms; not 0.
    """

    kind: Kind
    value: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight == 0 or not np.isfinite(self.weight):
            raise InputError(
                f"the weight {self.weight:g} of {self.kind} '{self.value}' says nothing: give another"
            )

    @staticmethod
    def parse(kind: Kind, text: str) -> "QueryPart":
        """Parses `VALUE` or `VALUE*WEIGHT`, such as `a.jpg*-0.5`.

        Raises:
            InputError: the value is empty or the weight is 0.
        """
        match = _WEIGHT.match(text)
        value, weight = (match.group(1), float(match.group(2))) if match else (text, 1.0)
        if not value.strip():
            raise InputError(f"--{kind} is empty: say what to look for")
        return QueryPart(kind, value, weight)


def parse_clip(text: str) -> tuple[str, float, float]:
    """Parses `VIDEO@12-18` to the video's name, start and end in seconds.

    Raises:
        InputError: the text has another form, or the range is empty.
    """
    match = _CLIP.match(text)
    if not match or float(match.group(2)) >= float(match.group(3)):
        raise InputError(
            f"clip '{text}' is not valid: give a video and its seconds, such as Fight5.mpg@12-18"
        )
    return match.group(1), float(match.group(2)), float(match.group(3))


def combine(vectors: np.ndarray, parts: Sequence[QueryPart]) -> np.ndarray:
    """Returns the weighted sum of query terms, scaled to unit length: (length,) float32.

    Args:
        vectors: (parts, length) vectors of the terms, from `Fitted.vectors`.
        parts: the terms with their weights.

    Raises:
        InputError: the terms cancel each other out, or a vector is all zeros.
    """
    for part, vector in zip(parts, vectors, strict=True):
        if not vector.any():
            raise InputError(f"the features of '{part.value}' are all zeros, like nothing else: take another")
    weights = np.array([part.weight for part in parts])
    total = (weights[:, None] * unit(vectors).astype(float)).sum(axis=0)
    if np.linalg.norm(total) < 1e-6:
        raise InputError("what is looked for and what is not are the same: give other weights")
    return unit(total[None])[0]


@dataclass(frozen=True)
class MomentFilter:
    """Conditions on the moments to find.

    Attributes:
        videos: URIs of videos; empty for all.
        cameras: cameras, as returned by `feature_files.camera`; empty for all.
        between_s: half-open range of seconds of the day; spans midnight if the second is not above the first.
        min_probability: minimum P(suspicious).
        max_probability: maximum P(suspicious).
        label: 1 or 0 for moments labelled suspicious or not suspicious.
        scope: `frame`, `clip`, or None for both.
        without_still: whether to leave out near-duplicates of earlier frames.
    """

    videos: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    between_s: tuple[float, float] | None = None
    min_probability: float | None = None
    max_probability: float | None = None
    label: int | None = None
    scope: str | None = "frame"
    without_still: bool = False

    def __post_init__(self) -> None:
        for name in ("min_probability", "max_probability"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name}={value:g} is not valid: give a probability, 0 to 1")
        if self.label not in (None, 0, 1):
            raise InputError(f"label={self.label} is not valid: give 1 for suspicious or 0 for not")
        if self.scope is not None and self.scope not in SCOPES:
            raise InputError(f"scope={self.scope} is not valid: choose one of {', '.join(SCOPES)}")

    def expression(self, *, without: Sequence[str] = ()) -> str:
        """Returns the conditions as a filter expression of Milvus.

        Args:
            without: URIs of further videos to leave out.
        """
        terms = [f"video in {_list(self.videos)}"] if self.videos else []
        terms += [f"camera in {_list(self.cameras)}"] if self.cameras else []
        terms += [f"video not in {_list(without)}"] if without else []
        if self.between_s is not None:
            start_s, end_s = self.between_s
            both = "and" if start_s < end_s else "or"
            terms.append(f"(clock_s >= {start_s:g} {both} clock_s < {end_s:g})")
        terms += [f"probability >= {self.min_probability}"] if self.min_probability is not None else []
        terms += [f"probability <= {self.max_probability}"] if self.max_probability is not None else []
        terms += [f"label == {self.label}"] if self.label is not None else []
        terms += [f'scope == "{self.scope}"'] if self.scope is not None else []
        terms += ["still == false"] if self.without_still else []
        return " and ".join(terms)


def _list(values: Sequence[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)
