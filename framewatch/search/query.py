"""What is looked for, and among which moments. No Spark in here."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from framewatch.errors import InputError
from framewatch.search.moment_vectors import SCOPES
from framewatch.tables.feature_files import unit

Kind = Literal["frame", "image", "clip", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
_WEIGHT = re.compile(r"^(.*\S)\s*\*\s*([-+]?\d+(?:\.\d+)?)$", re.DOTALL)
_CLIP = re.compile(r"^(.+)@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$", re.DOTALL)


@dataclass(frozen=True)
class QueryPart:
    """One thing to be similar to, or, of a negative weight, not to be."""

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
        """`VALUE` or `VALUE*WEIGHT`, such as `a.jpg*-0.5`."""
        match = _WEIGHT.match(text)
        value, weight = (match.group(1), float(match.group(2))) if match else (text, 1.0)
        if not value.strip():
            raise InputError(f"--{kind} is empty: say what to look for")
        return QueryPart(kind, value, weight)


def parse_clip(text: str) -> tuple[str, float, float]:
    """`VIDEO@12-18` as a video's name and its seconds.

    Raises:
        InputError: it is none.
    """
    match = _CLIP.match(text)
    if not match or float(match.group(2)) >= float(match.group(3)):
        raise InputError(
            f"clip '{text}' is not valid: give a video and its seconds, such as Fight5.mpg@12-18"
        )
    return match.group(1), float(match.group(2)), float(match.group(3))


def combine(vectors: np.ndarray, parts: Sequence[QueryPart]) -> np.ndarray:
    """The direction that all parts say together: (length,) float32 of length 1.

    Args:
        vectors: (parts, length), as they are compared.
        parts: with their weights.

    Raises:
        InputError: they cancel each other out, or one is all zeros.
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
    """Which moments may be found.

    Attributes:
        videos: URIs; empty for all.
        cameras: as `feature_files.camera` tells them; empty for all.
        between_s: seconds of the day, from the first up to the second, over midnight where that is less.
        min_probability: the least P(suspicious).
        max_probability: the greatest.
        label: 1 or 0 for moments known to be suspicious or not.
        scope: `frame`, `clip`, or None for both.
        without_still: leaves out near-duplicates of the frame before.
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
        """The filter as Milvus reads it.

        Args:
            without: URIs of videos to leave out.
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
