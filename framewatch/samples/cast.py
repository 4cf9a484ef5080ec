"""The cast of a clip: the wardrobe, and the people in the lobby who are not part of the story."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from framewatch.samples.people import Look
from framewatch.samples.script import DOWN, UP, Actor, Bag, Path, Point, Stay

_SKINS = ((140, 170, 214), (126, 156, 202), (104, 136, 184), (82, 108, 152))
_HAIRS = ((28, 30, 34), (34, 44, 58), (42, 58, 82), (56, 82, 114), (104, 106, 108))
_TOPS = (
    (104, 66, 46), (58, 56, 112), (76, 92, 66), (62, 60, 62), (112, 104, 72), (92, 66, 84),
    (128, 112, 84), (84, 80, 80), (96, 84, 96), (64, 76, 92), (120, 88, 60), (78, 98, 88),
)  # fmt: skip
_BOTTOMS = ((84, 66, 56), (96, 80, 68), (52, 50, 52), (70, 72, 74), (62, 68, 62))
_SHOES = ((36, 36, 40), (40, 48, 62))
_BAGS = ((104, 64, 42), (48, 48, 52), (60, 84, 56))

_UNIFORM = Look(1.70, _SKINS[1], _HAIRS[1], top=(92, 58, 36), bottom=(52, 50, 52), shoes=(36, 36, 40))

_CORRIDOR: tuple[Point, Point] = ((-1.25, 10.2), (-1.3, 11.6))
_BEYOND = (-3.4, 12.2)
_LANES = (6.9, 7.9)


class Cast:
    """Collects the people and bags of one clip. No two people wear the same clothes."""

    def __init__(self, rng: np.random.Generator, end_s: float) -> None:
        self.rng = rng
        self.end_s = end_s
        self.actors: list[Actor] = []
        self.bags: list[Bag] = []
        self._tops = list(rng.permutation(len(_TOPS)))

    def add(self, path: Path) -> int:
        """Add an actor with new clothes who follows these steps; return the index of the actor."""
        phase = float(self.rng.uniform(0, 6.28))
        self.actors.append(Actor(self._look(), phase, path.steps()))
        return len(self.actors) - 1

    def bag(self, *stays: Stay) -> None:
        """Add a bag with the positions in `stays`."""
        self.bags.append(Bag(_BAGS[self.rng.integers(len(_BAGS))], stays))

    def near(self, xy: Point, by: float = 0.35) -> Point:
        """Return a random position at most `by` metres away in x and in y."""
        return (round(xy[0] + self.rng.uniform(-by, by), 2), round(xy[1] + self.rng.uniform(-by, by), 2))

    def draw(self, low: float, high: float) -> float:
        """Return a random number between two numbers, rounded to a tenth."""
        return round(float(self.rng.uniform(low, high)), 1)

    def _look(self) -> Look:
        pick = self.rng.integers
        return Look(
            height_m=round(float(self.rng.uniform(1.66, 1.84)), 2),
            skin=_SKINS[pick(len(_SKINS))],
            hair=_HAIRS[pick(len(_HAIRS))],
            top=_TOPS[self._tops.pop()],
            bottom=_BOTTOMS[pick(len(_BOTTOMS))],
            shoes=_SHOES[pick(len(_SHOES))],
            short_sleeves=bool(self.rng.random() < 0.15),
            coat=bool(self.rng.random() < 0.15),
        )


def from_side(side: str, lane: float, start_s: float = 0.0) -> Path:
    """Return the path of someone who enters the picture at depth `lane`."""
    x = -4.7 if side == "left" else 4.7
    return Path((x, lane), start_s=start_s)


def out(path: Path, cast: Cast, side: str, lane: float) -> Path:
    """Walk out of the picture and stay there."""
    path.walk((-4.7 if side == "left" else 4.7, lane), speed=cast.draw(1.15, 1.45))
    return path.until(cast.end_s, "stand")


def _passer(cast: Cast, start_s: float, *, with_bag: bool = False) -> None:
    """Someone crosses the lobby behind everyone else, and may stop on the way."""
    side, other = ("left", "right") if cast.rng.random() < 0.5 else ("right", "left")
    lane = float(cast.rng.choice(_LANES))
    path = from_side(side, lane, start_s)
    path.walk(cast.near((0.0, lane), 0.15), speed=cast.draw(1.05, 1.4))
    if cast.rng.random() < 0.4:
        path.do("phone", cast.draw(2, 4))
    number = cast.add(out(path, cast, other, lane))
    if with_bag:
        cast.bag(Stay(0, cast.end_s, actor=number))


def _leaver(cast: Cast, start_s: float) -> None:
    """Someone comes out of the corridor and leaves the picture at one side."""
    side = "left" if cast.rng.random() < 0.5 else "right"
    path = Path(_BEYOND, start_s=start_s).walk(_CORRIDOR[1], _CORRIDOR[0], cast.near((-0.6, 8.6), 0.2))
    cast.add(out(path, cast, side, 8.1))


def _sitter(cast: Cast) -> None:
    x = -2.85 if cast.rng.random() < 0.5 else -3.3
    cast.add(Path((x, 8.82)).until(cast.end_s, "sit", heading=DOWN))


def _clerk(cast: Cast) -> None:
    """Add the receptionist in uniform, who appears in every clip."""
    path = Path((2.65, 9.5)).until(cast.end_s, "talk", heading=DOWN)
    cast.actors.append(Actor(_UNIFORM, cast.draw(0, 6), path.steps()))


def _guest(cast: Cast) -> None:
    """Someone stands at the desk."""
    path = Path(cast.near((2.3, 8.05), 0.1)).do("talk", cast.draw(8, 14), heading=UP)
    cast.add(path.until(cast.end_s, "browse", heading=UP))


def extras(cast: Cast) -> None:
    """Add the other people in the lobby, with the same distribution for every kind of clip."""
    _clerk(cast)
    kinds: list[Callable[[], None]] = [
        lambda: _sitter(cast),
        lambda: _guest(cast),
        lambda: _passer(cast, cast.draw(0, cast.end_s - 9), with_bag=bool(cast.rng.random() < 0.4)),
        lambda: _leaver(cast, cast.draw(0, cast.end_s - 10)),
    ]
    kinds[cast.rng.integers(len(kinds))]()
