"""The script of a clip: who does what, when and where, and which seconds are suspicious."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from framewatch.samples.people import Look
from framewatch.samples.poses import GESTURES

Split = Literal["train", "test"]
Range = tuple[float, float]
Point = tuple[float, float]
WALK = "walk"

SHORTEST_LABEL_S = 1.0
"""A shorter range at the end of a clip gets no label, because it may not contain a sampled frame."""

UP, LEFT, RIGHT, DOWN = math.pi / 2, math.pi, 0.0, -math.pi / 2
"""Headings: away from the camera, to the left, to the right, towards the camera."""


@dataclass(frozen=True)
class Step:
    """One gesture during [start_s, end_s), while moving from `start_xy` to `end_xy` (metres).

    `heading` is in radians counter-clockwise from +x; None is the direction of movement.
    """

    gesture: str
    start_s: float
    end_s: float
    start_xy: Point
    end_xy: Point
    heading: float | None = None

    def __post_init__(self) -> None:
        if self.gesture != WALK and self.gesture not in GESTURES:
            raise ValueError(f"gesture must be '{WALK}' or one of {sorted(GESTURES)}, got {self.gesture!r}")
        if not self.start_s < self.end_s:
            raise ValueError(f"a step must end after it starts, got [{self.start_s}, {self.end_s})")


@dataclass(frozen=True)
class Actor:
    """A person and their consecutive steps, without gaps."""

    look: Look
    phase: float
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        for before, after in zip(self.steps, self.steps[1:], strict=False):
            if before.end_s != after.start_s or before.end_xy != after.start_xy:
                raise ValueError(f"steps must follow each other without a gap, got {before} and {after}")


@dataclass(frozen=True)
class Stay:
    """The owner of a bag during [start_s, end_s): an actor's index, or None while it stands on the floor."""

    start_s: float
    end_s: float
    actor: int | None

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s:
            raise ValueError(f"a stay must end after it starts, got [{self.start_s}, {self.end_s})")


@dataclass(frozen=True)
class Bag:
    """A suitcase and its consecutive stays. The color is BGR."""

    colour: tuple[int, int, int]
    stays: tuple[Stay, ...]

    def __post_init__(self) -> None:
        if self.stays[0].actor is None:
            raise ValueError("a bag must begin with an actor, who can put it down later")


@dataclass(frozen=True)
class LabelRange:
    """One row of a label file: the label of the frames of `video` in [start_s, end_s)."""

    video: str
    start_s: float
    end_s: float
    label: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s or self.label not in (0, 1):
            raise ValueError(f"a label is 0 or 1 for a range that ends after it starts, got {self}")


@dataclass(frozen=True)
class Clip:
    """One sample video: its script and its suspicious ranges.

    Attributes:
        split: the set of the video, train or test.
        file_name: such as `Fight1.mpg`; the extension selects the format.
        duration_s: length in seconds.
        suspicious: half-open ranges in seconds, in order, without overlap.
        unclear: ranges of at most a second at transitions, which get no label.
        rng_key: seed of noise, light and everything else random.
    """

    split: Split
    file_name: str
    duration_s: float
    suspicious: tuple[Range, ...]
    unclear: tuple[Range, ...]
    actors: tuple[Actor, ...]
    bags: tuple[Bag, ...]
    rng_key: tuple[int, int]

    def __post_init__(self) -> None:
        if PurePath(self.file_name).suffix not in (".mpg", ".mp4"):
            raise ValueError(f"file_name must end in .mpg or .mp4, got {self.file_name!r}")
        end_s = 0.0
        for start_s, stop_s in sorted(self.suspicious + self.unclear):
            if not end_s <= start_s < stop_s <= self.duration_s:
                raise ValueError(
                    f"{self.file_name}: [{start_s}, {stop_s}) overlaps or leaves [0, {self.duration_s})"
                )
            end_s = stop_s

    @property
    def labels(self) -> tuple[LabelRange, ...]:
        """Return the rows of the label file, in order of time."""
        rows, end_s = [], 0.0
        marked = [(*r, 1) for r in self.suspicious] + [(*r, None) for r in self.unclear]
        for start_s, stop_s, label in [*sorted(marked), (self.duration_s, self.duration_s, None)]:
            if start_s - end_s >= SHORTEST_LABEL_S:
                rows.append(LabelRange(self.file_name, end_s, start_s, 0))
            if label is not None:
                rows.append(LabelRange(self.file_name, start_s, stop_s, label))
            end_s = stop_s
        return tuple(rows)


class Path:
    """Builds the consecutive steps of one actor."""

    def __init__(self, xy: Point, *, start_s: float = 0.0) -> None:
        self.xy = xy
        self.now_s = 0.0
        self.heading = DOWN
        self._steps: list[Step] = []
        if start_s > 0:
            self.do("stand", start_s)

    def walk(self, *points: Point, speed: float = 1.25) -> Path:
        """Walk through `points` at `speed` metres per second."""
        for point in points:
            seconds = max(0.1, math.dist(self.xy, point) / speed)
            self.heading = math.atan2(point[1] - self.xy[1], point[0] - self.xy[0])
            self._add(WALK, seconds, point, None)
        return self

    def do(
        self, gesture: str, seconds: float, *, heading: float | None = None, xy: Point | None = None
    ) -> Path:
        """Do `gesture` for `seconds`, in place or while moving to `xy`."""
        self.heading = self.heading if heading is None else heading
        self._add(gesture, seconds, xy or self.xy, self.heading)
        return self

    def until(self, end_s: float, gesture: str, *, heading: float | None = None) -> Path:
        """Do `gesture` in place until `end_s`; do nothing if it has passed."""
        return self.do(gesture, end_s - self.now_s, heading=heading) if end_s > self.now_s + 0.04 else self

    def steps(self) -> tuple[Step, ...]:
        """Return the steps so far."""
        return tuple(self._steps)

    def _add(self, gesture: str, seconds: float, xy: Point, heading: float | None) -> None:
        end_s = round(self.now_s + seconds, 2)
        self._steps.append(Step(gesture, self.now_s, end_s, self.xy, xy, heading))
        self.now_s, self.xy = end_s, xy
