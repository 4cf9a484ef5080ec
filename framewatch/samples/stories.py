"""The sample set: which clips there are, and what happens in each kind of clip.

Normal and suspicious clips share everything but the behaviour: the same lobby, light, wardrobe, bags, passers-by,
formats and numbers of people; and people of normal clips sit, bend, kneel and wait too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from framewatch.samples.people import Look
from framewatch.samples.script import (
    DOWN,
    LEFT,
    RIGHT,
    UP,
    Actor,
    Bag,
    Clip,
    Path,
    Point,
    Range,
    Split,
    Stay,
)

_SKINS = ((150, 178, 222), (132, 162, 208), (104, 136, 184), (76, 102, 146), (56, 76, 112))
_HAIRS = ((28, 30, 34), (38, 52, 74), (62, 92, 128), (96, 140, 176), (126, 128, 130))
_TOPS = (
    (146, 84, 52), (62, 62, 172), (84, 122, 70), (66, 64, 68), (188, 192, 196), (60, 130, 186),
    (120, 74, 106), (150, 132, 70), (70, 92, 128), (172, 150, 128),
)  # fmt: skip
_BOTTOMS = ((84, 66, 56), (118, 92, 70), (52, 50, 52), (84, 100, 118), (62, 74, 62), (130, 132, 128))
_SHOES = ((36, 36, 40), (44, 54, 78), (190, 192, 194))
_BAGS = ((48, 46, 150), (122, 70, 40), (50, 50, 54), (60, 112, 60), (36, 116, 178))

_EXIT_LEFT, _EXIT_RIGHT = (-4.6, 6.0), (4.4, 5.2)
_CORRIDOR: tuple[Point, Point] = ((-1.25, 10.2), (-1.3, 11.6))
_BEYOND = (-3.4, 12.2)
_LANES = (4.7, 7.9, 8.2)

Story = tuple[list[Actor], list[Bag], list[Range], list[Range]]


class _Cast:
    """Collects the people and bags of one clip; nobody wears what another one wears."""

    def __init__(self, rng: np.random.Generator, end_s: float) -> None:
        self.rng = rng
        self.end_s = end_s
        self.actors: list[Actor] = []
        self.bags: list[Bag] = []
        self._tops = list(rng.permutation(len(_TOPS)))

    def add(self, path: Path, *, phase: float | None = None) -> int:
        """Dress whoever goes this way; returns the actor's number."""
        phase = float(self.rng.uniform(0, 6.28)) if phase is None else phase
        self.actors.append(Actor(self._look(), phase, path.steps()))
        return len(self.actors) - 1

    def bag(self, *stays: Stay) -> None:
        kind = "trolley" if self.rng.random() < 0.6 else "duffel"
        self.bags.append(Bag(kind, _BAGS[self.rng.integers(len(_BAGS))], stays))  # type: ignore[arg-type]

    def near(self, xy: Point, by: float = 0.35) -> Point:
        return (round(xy[0] + self.rng.uniform(-by, by), 2), round(xy[1] + self.rng.uniform(-by, by), 2))

    def seconds(self, low: float, high: float) -> float:
        return round(float(self.rng.uniform(low, high)), 1)

    def _look(self) -> Look:
        pick = self.rng.integers
        return Look(
            height_m=round(float(self.rng.uniform(1.62, 1.88)), 2),
            skin=_SKINS[pick(len(_SKINS))],
            hair=_HAIRS[pick(len(_HAIRS))],
            top=_TOPS[self._tops.pop()],
            bottom=_BOTTOMS[pick(len(_BOTTOMS))],
            shoes=_SHOES[pick(len(_SHOES))],
            short_sleeves=bool(self.rng.random() < 0.35),
            coat=bool(self.rng.random() < 0.2),
        )


def _from_side(cast: _Cast, side: str, lane: float, start_s: float = 0.0) -> Path:
    x = -4.7 if side == "left" else 4.7
    return Path((x, lane), start_s=start_s)


def _out(path: Path, cast: _Cast, side: str, lane: float) -> Path:
    """Walk out of the picture and stay there."""
    path.walk((-4.7 if side == "left" else 4.7, lane), speed=cast.seconds(1.15, 1.45))
    return path.until(cast.end_s, "stand")


def _passer(cast: _Cast, start_s: float, *, with_bag: bool = False) -> None:
    """Crosses the lobby behind everyone else; may stop on the way."""
    side, other = ("left", "right") if cast.rng.random() < 0.5 else ("right", "left")
    lane = float(cast.rng.choice(_LANES[1:]))
    path = _from_side(cast, side, lane, start_s)
    path.walk(cast.near((0.0, lane), 0.15), speed=cast.seconds(1.05, 1.4))
    if cast.rng.random() < 0.4:
        path.do("phone", cast.seconds(2, 4))
    number = cast.add(_out(path, cast, other, lane))
    if with_bag:
        cast.bag(Stay(0, cast.end_s, actor=number))


def _leaver(cast: _Cast, start_s: float) -> None:
    """Comes out of the corridor and leaves by a side."""
    side = "left" if cast.rng.random() < 0.5 else "right"
    path = Path(_BEYOND, start_s=start_s).walk(_CORRIDOR[1], _CORRIDOR[0], cast.near((-0.6, 8.6), 0.2))
    cast.add(_out(path, cast, side, 8.1))


def _sitter(cast: _Cast) -> None:
    x = -2.85 if cast.rng.random() < 0.5 else -3.3
    cast.add(Path((x, 8.82)).until(cast.end_s, "sit", heading=DOWN))


def _clerk(cast: _Cast) -> None:
    cast.add(Path((cast.seconds(2.5, 2.8), 9.5)).until(cast.end_s, "talk", heading=DOWN))


def _guest(cast: _Cast) -> None:
    """Stands at the desk."""
    path = Path(cast.near((2.3, 8.05), 0.1)).do("talk", cast.seconds(8, 14), heading=UP)
    cast.add(path.until(cast.end_s, "browse", heading=UP))


def _extras(cast: _Cast, count: int) -> None:
    """Other people of the lobby, the same mixture for every kind of clip."""
    kinds: list[Callable[[], None]] = [
        lambda: _sitter(cast),
        lambda: _guest(cast),
        lambda: _clerk(cast),
        lambda: _passer(cast, cast.seconds(1, cast.end_s - 10), with_bag=bool(cast.rng.random() < 0.4)),
        lambda: _leaver(cast, cast.seconds(0, cast.end_s - 12)),
    ]
    for index in cast.rng.permutation(len(kinds))[:count]:
        kinds[index]()


def _walk(cast: _Cast) -> tuple[list[Range], list[Range]]:
    """People cross the hall, some with bags; one stops to tie a shoe."""
    starts = np.linspace(0, cast.end_s - 9, 4)
    for number, start_s in enumerate(starts):
        side, other = ("left", "right") if (number + cast.rng.integers(2)) % 2 else ("right", "left")
        path = _from_side(cast, side, 6.0, round(float(start_s), 1))
        path.walk(cast.near((0.0, 5.9), 0.5), speed=cast.seconds(1.1, 1.4))
        if number in (1, 2):
            path.do("bend", 2.6).do("stand", 1.0)
        actor = cast.add(_out(path, cast, other, 5.6))
        if number % 2 == 0:
            cast.bag(Stay(0, cast.end_s, actor=actor))
    _extras(cast, 1)
    return [], []


def _browse(cast: _Cast) -> tuple[list[Range], list[Range]]:
    """One reads the brochures, one goes from the kiosk to the middle and phones."""
    path = Path(cast.near((0.5, 5.6))).walk((2.65, 6.45), speed=1.1)
    path.do("browse", cast.seconds(7, 10), heading=UP).do("bend", 2.4, heading=UP)
    path.do("browse", cast.seconds(4, 6), heading=UP).walk(cast.near((0.9, 5.6), 0.2))
    cast.add(path.until(cast.end_s, "phone", heading=cast.seconds(-2.2, -0.8)))
    path = Path((-0.13, 9.2)).do("browse", cast.seconds(6, 9), heading=UP)
    path.walk(cast.near((-1.0, 6.0), 0.3)).do("call", cast.seconds(5, 8), heading=DOWN)
    _out(path, cast, "left", 5.6)
    cast.bag(Stay(0, cast.end_s, actor=cast.add(path)))
    _extras(cast, 2)
    return [], []


def _together(cast: _Cast, start_s: float, spread_m: float) -> tuple[Path, Path, float]:
    """Two people walk up to each other; returns their ways and the time both are there."""
    y = cast.seconds(5.2, 5.9)
    x = cast.seconds(-0.5, 0.5)
    left = _from_side(cast, "left", 6.0, start_s).walk((x - spread_m / 2, y), speed=cast.seconds(1.25, 1.5))
    right = _from_side(cast, "right", 5.6, start_s).walk((x + spread_m / 2, y), speed=cast.seconds(1.25, 1.5))
    there_s = max(left.now_s, right.now_s)
    left.until(there_s, "stand", heading=RIGHT)
    right.until(there_s, "stand", heading=LEFT)
    return left, right, there_s


def _meet(cast: _Cast) -> tuple[list[Range], list[Range]]:
    """Two meet, shake hands, talk for a while, and part; one has a bag beside them."""
    left, right, _ = _together(cast, cast.seconds(0, 1), 0.95)
    talk_s = cast.seconds(9, 12)
    for path in (left, right):
        path.do("greet", 1.6).do("talk", talk_s)
    left.do("greet", 1.2)
    right.do("greet", 1.2).do("bend", 2.2)
    _out(left, cast, "right", 7.4)
    _out(right, cast, "left", 5.4)
    cast.bag(Stay(0, cast.end_s, actor=cast.add(left)))
    cast.add(right)
    _extras(cast, 2)
    return [], []


def _wait(cast: _Cast) -> tuple[list[Range], list[Range]]:
    """One waits with a bag, one kneels to look for something and walks on."""
    path = Path(cast.near((-0.9, 5.8))).do("phone", cast.seconds(6, 9), heading=cast.seconds(-2.4, -0.7))
    path.do("stand", cast.seconds(3, 5), heading=DOWN).do("call", cast.seconds(4, 6))
    path.until(cast.end_s, "phone", heading=cast.seconds(-2.4, -0.7))
    cast.bag(Stay(0, cast.end_s, actor=cast.add(path)))
    path = _from_side(cast, "right", 5.6, cast.seconds(1, 3)).walk(cast.near((1.3, 5.9), 0.2))
    path.do("stand", 2.0, heading=DOWN).do("kneel", cast.seconds(4, 6), heading=LEFT)
    path.do("stand", 2.0, heading=LEFT).walk((1.8, 8.0)).do("talk", cast.seconds(4, 6), heading=UP)
    cast.add(path.until(cast.end_s, "browse", heading=UP))
    _extras(cast, 1)
    return [], []


def _collapse(cast: _Cast, *, helped_up: bool) -> tuple[list[Range], list[Range]]:
    """One becomes unwell and falls; another comes to help. In some clips they get up again."""
    spot = cast.near((-0.1, 5.4), 0.5)
    side = "left" if cast.rng.random() < 0.5 else "right"
    path = _from_side(cast, side, 5.8).walk(spot, speed=1.25)
    path.do("phone", cast.seconds(2, 4), heading=cast.seconds(-2.4, -0.7)).do("dizzy", 2.0)
    fall_s = path.now_s
    across = float(cast.rng.choice((LEFT, RIGHT))) + cast.seconds(-0.5, 0.5)
    path.do("fall", 1.1, heading=across)
    up_s = round(cast.end_s - 4.5, 1) if helped_up else cast.end_s
    path.until(up_s, "lie")
    if helped_up:
        path.do("rise", 1.6).until(cast.end_s, "stand")
    cast.add(path)
    beside = (spot[0] + cast.seconds(0.1, 0.5), spot[1] + 0.75)
    helper = Path((2.5, 6.45)).do("browse", fall_s + 1.0, heading=UP).do("alarm", cast.seconds(2, 4), heading=LEFT)
    helper.walk(beside, speed=1.7).until(up_s, "kneel", heading=DOWN)
    cast.add(helper.until(cast.end_s, "stand", heading=DOWN))
    _extras(cast, 2)
    if helped_up:
        return [(round(fall_s + 0.6, 2), up_s)], [(fall_s, round(fall_s + 0.6, 2)), (up_s, round(up_s + 1.0, 2))]
    return [(round(fall_s + 0.6, 2), cast.end_s)], [(fall_s, round(fall_s + 0.6, 2))]


def _left_bag(cast: _Cast, *, fetched: bool) -> tuple[list[Range], list[Range]]:
    """One waits with a bag, then goes away without it. In some clips they come back for it."""
    spot = cast.near((0.0, 5.3), 0.5)
    path = _from_side(cast, "left" if cast.rng.random() < 0.5 else "right", 5.6).walk(spot, speed=1.3)
    path.do("phone", cast.seconds(2.5, 4), heading=cast.seconds(-2.2, -0.9)).do("bend", 2.2)
    left_s, beside = path.now_s, (spot[0] - 0.34, spot[1])
    path.walk((spot[0] + 0.4, 6.8), (1.2, 8.3) if fetched else _EXIT_LEFT, speed=1.5)
    back_s = cast.end_s
    if fetched:
        path.until(cast.end_s - 7.5, "browse", heading=UP).walk((spot[0] + 0.1, spot[1] + 0.2), speed=1.6)
        path.do("bend", 1.6, heading=DOWN)
        back_s = round(path.now_s - 0.8, 2)
        path.walk((-4.7, 5.0), speed=1.5)
    owner = cast.add(path.until(cast.end_s, "stand"))
    stays = [Stay(0, left_s, actor=owner), Stay(left_s, back_s, xy=beside)]
    if fetched:
        stays.append(Stay(back_s, cast.end_s, actor=owner))
    cast.bag(*stays)
    _extras(cast, 3)
    gone_s, near_s = round(left_s + 1.0, 2), round(back_s - 1.0, 2)
    if fetched:
        return [(gone_s, near_s)], [(left_s, gone_s), (near_s, back_s)]
    return [(gone_s, cast.end_s)], [(left_s, gone_s)]


def _fight(cast: _Cast) -> tuple[list[Range], list[Range]]:
    """Two talk, quarrel and strike; one goes down and is kicked; then they part."""
    one, two, _ = _together(cast, 0.0, 0.95)
    for path in (one, two):
        path.do("talk", 3.4)
    blow_s = one.now_s
    centre, turn = np.array([(one.xy[0] + two.xy[0]) / 2, one.xy[1]]), 0.0
    while one.now_s < blow_s + 6.0:
        turn = float(np.clip(turn + cast.rng.uniform(-0.55, 0.55), -0.7, 0.7))
        centre = np.clip(centre + cast.rng.uniform(-0.22, 0.22, 2), (-1.2, 4.9), (1.2, 5.8))
        arm = 0.30 * np.array([math.cos(turn), math.sin(turn)])
        gesture = "grapple" if cast.rng.random() < 0.45 else "punch"
        beat_s = cast.seconds(0.5, 0.9)
        one.do(gesture, beat_s, heading=turn, xy=_point(centre - arm))
        two.do(gesture, beat_s, heading=turn + math.pi, xy=_point(centre + arm))
    down_s = cast.seconds(6.0, 7.5)
    two.do("ward", down_s, heading=turn, xy=_point(centre + 2.6 * arm))
    while one.now_s < two.now_s - 0.05:
        step = cast.rng.uniform(-0.12, 0.12, 2)
        one.do("stomp", min(0.8, two.now_s - one.now_s), heading=turn, xy=_point(centre + step))
    part_s = two.now_s
    one.walk((-4.7, 5.6), speed=2.4).until(cast.end_s, "stand")
    two.do("rise", 1.5).until(cast.end_s, "dizzy")
    cast.add(one)
    cast.add(two, phase=1.2)
    _extras(cast, 2)
    first_s = round(blow_s + 0.5, 2)
    return [(first_s, part_s)], [(blow_s, first_s), (part_s, round(min(part_s + 1.0, cast.end_s), 2))]


def _point(xy: np.ndarray) -> Point:
    return round(float(xy[0]), 3), round(float(xy[1]), 3)


_STORIES: dict[str, Callable[[_Cast], tuple[list[Range], list[Range]]]] = {
    "Walk": _walk,
    "Browse": _browse,
    "Meet": _meet,
    "Wait": _wait,
    "Collapse": lambda cast: _collapse(cast, helped_up=False),
    "CollapseHelped": lambda cast: _collapse(cast, helped_up=True),
    "LeftBag": lambda cast: _left_bag(cast, fetched=False),
    "LeftBagFetched": lambda cast: _left_bag(cast, fetched=True),
    "Fight": _fight,
}

# Split, file name, story, length in seconds.
_CLIPS: tuple[tuple[Split, str, str, float], ...] = (
    ("train", "Walk1.mpg", "Walk", 24),
    ("train", "Walk2.mp4", "Walk", 24),
    ("train", "Browse1.mp4", "Browse", 25),
    ("train", "Browse2.mpg", "Browse", 25),
    ("train", "Meet1.mpg", "Meet", 25),
    ("train", "Meet2.mp4", "Meet", 25),
    ("train", "Wait1.mpg", "Wait", 25),
    ("train", "Wait2.mp4", "Wait", 25),
    ("train", "Collapse1.mpg", "Collapse", 26),
    ("train", "Collapse2.mp4", "CollapseHelped", 28),
    ("train", "LeftBag1.mp4", "LeftBag", 25),
    ("train", "LeftBag2.mpg", "LeftBagFetched", 28),
    ("train", "LeftBag3.mpg", "LeftBag", 25),
    ("train", "Fight1.mpg", "Fight", 27),
    ("train", "Fight2.mp4", "Fight", 27),
    ("train", "Fight3.mp4", "Fight", 27),
    ("test", "Walk3.mpg", "Walk", 24),
    ("test", "Browse3.mp4", "Browse", 25),
    ("test", "Meet3.mp4", "Meet", 25),
    ("test", "Wait3.mpg", "Wait", 25),
    ("test", "Collapse3.mpg", "CollapseHelped", 28),
    ("test", "Collapse4.mp4", "Collapse", 26),
    ("test", "LeftBag4.mp4", "LeftBag", 25),
    ("test", "Fight4.mpg", "Fight", 27),
    ("test", "Fight5.mp4", "Fight", 27),
)


def script(seed: int) -> tuple[Clip, ...]:
    """All clips of the set, with their labels; draws nothing."""
    clips = []
    for index, (split, name, story, duration_s) in enumerate(_CLIPS):
        cast = _Cast(np.random.default_rng([seed, index]), duration_s)
        suspicious, unclear = _STORIES[story](cast)
        clips.append(
            Clip(
                split, name, duration_s, tuple(suspicious), tuple(unclear),
                tuple(cast.actors), tuple(cast.bags), (seed, index),
            )  # fmt: skip
        )
    return tuple(clips)
