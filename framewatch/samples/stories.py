"""The sample set: its clips, and the story of each kind of clip.

Normal and suspicious clips only differ in behavior. Lobby, light, wardrobe, bags, passers-by, formats and
numbers of people are the same, and people in normal clips also sit, bend, kneel and wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from framewatch.samples.cast import Cast, extras, from_side, out
from framewatch.samples.script import DOWN, LEFT, RIGHT, UP, Clip, Path, Point, Range, Split, Stay

Marks = tuple[list[Range], list[Range]]
"""The labels of a story: suspicious ranges, and short unclear ranges next to them."""

# Getting up from the floor is suspicious while down, unclear in the last 0.9 s, and then normal.
_RISE_S = 1.5


def _walk(cast: Cast) -> Marks:
    """People cross the hall in both directions, some with bags; two without bags stop to tie a shoe."""
    for number, start_s in enumerate(np.linspace(0, cast.end_s - 7, 5)):
        side, other = ("left", "right") if number % 2 else ("right", "left")
        lane = cast.draw(5.0, 5.7)
        path = from_side(side, lane, round(float(start_s), 1))
        path.walk(cast.near((0.0, lane), 0.4), speed=cast.draw(1.1, 1.5))
        ties_shoe = number in (1, 3)
        if ties_shoe:
            path.do("bend", cast.draw(2.2, 3.0)).do("stand", 1.0)
        actor = cast.add(out(path, cast, other, cast.draw(5.0, 5.7)))
        if not ties_shoe and cast.rng.random() < 0.7:
            cast.bag(Stay(0, cast.end_s, actor=actor))
    extras(cast)
    return [], []


def _browse(cast: Cast) -> Marks:
    """One person reads brochures; another goes from the kiosk to the middle and makes a phone call."""
    path = Path(cast.near((0.5, 5.2))).walk((2.65, 6.45), speed=1.1)
    path.do("browse", cast.draw(4, 6), heading=UP).do("bend", 2.4, heading=UP)
    path.do("browse", cast.draw(1, 3), heading=UP).walk(cast.near((0.9, 5.2), 0.2))
    cast.add(path.until(cast.end_s, "phone", heading=cast.draw(-2.2, -0.8)))
    path = Path((-0.13, 9.2)).do("browse", cast.draw(3, 6), heading=UP)
    path.walk(cast.near((-1.0, 5.4), 0.3)).do("call", cast.draw(5, 8), heading=DOWN)
    out(path, cast, "left", 5.6)
    cast.bag(Stay(0, cast.end_s, actor=cast.add(path)))
    extras(cast)
    return [], []


def _together(cast: Cast, start_s: float, spread_m: float) -> tuple[Path, Path, float]:
    """Let two people walk up to each other; return their paths and the time when both have arrived."""
    y = cast.draw(5.0, 5.4)
    x = cast.draw(-0.3, 0.3)
    left = from_side("left", 6.0, start_s).walk((x - spread_m / 2, y), speed=cast.draw(1.25, 1.5))
    right = from_side("right", 5.6, start_s).walk((x + spread_m / 2, y), speed=cast.draw(1.25, 1.5))
    there_s = max(left.now_s, right.now_s)
    left.until(there_s, "stand", heading=RIGHT)
    right.until(there_s, "stand", heading=LEFT)
    return left, right, there_s


def _meet(cast: Cast) -> Marks:
    """Two people meet, shake hands, talk for a while, and part; one has a bag."""
    left, right, _ = _together(cast, cast.draw(0, 1), 0.95)
    talk_s = cast.draw(7, 9)
    for path in (left, right):
        path.do("greet", 1.6).do("talk", talk_s)
    left.do("greet", 1.2)
    right.do("greet", 1.2)
    out(left, cast, "right", 7.4)
    out(right, cast, "left", 5.4)
    cast.bag(Stay(0, cast.end_s, actor=cast.add(left)))
    cast.add(right)
    extras(cast)
    return [], []


def _wait(cast: Cast) -> Marks:
    """One person waits with a bag; another kneels to look for something and walks on."""
    path = Path(cast.near((-0.9, 5.3))).do("phone", cast.draw(6, 9), heading=cast.draw(-2.4, -0.7))
    path.do("stand", cast.draw(3, 5), heading=DOWN).do("call", cast.draw(4, 6))
    path.until(cast.end_s, "phone", heading=cast.draw(-2.4, -0.7))
    cast.bag(Stay(0, cast.end_s, actor=cast.add(path)))
    path = from_side("right", 5.6, cast.draw(1, 3)).walk(cast.near((1.2, 5.3), 0.2))
    path.do("stand", 2.0, heading=DOWN).do("kneel", cast.draw(4, 6), heading=LEFT)
    path.do("stand", 2.0, heading=LEFT).walk((1.8, 8.0)).do("talk", cast.draw(4, 6), heading=UP)
    cast.add(path.until(cast.end_s, "browse", heading=UP))
    extras(cast)
    return [], []


def _collapse(cast: Cast, *, helped_up: bool) -> Marks:
    """A person becomes unwell and falls; another comes to help. In some clips they get up again."""
    spot = cast.near((-0.1, 5.1), 0.3)
    side = "left" if cast.rng.random() < 0.5 else "right"
    path = from_side(side, 5.8).walk(spot, speed=1.25)
    path.do("phone", cast.draw(1, 2.5), heading=cast.draw(-2.4, -0.7)).do("dizzy", 1.6)
    fall_s = path.now_s
    across = float(cast.rng.choice((LEFT, RIGHT))) + cast.draw(-0.35, 0.35)
    path.do("fall", 1.1, heading=across)
    up_s = round(cast.end_s - 3.0, 1) if helped_up else cast.end_s
    path.until(up_s, "lie")
    if helped_up:
        path.do("rise", _RISE_S).until(cast.end_s, "stand")
    cast.add(path)
    beside = (spot[0] + cast.draw(0.1, 0.5), spot[1] + 0.75)
    helper = (
        Path((2.5, 6.45)).do("browse", fall_s + 1.0, heading=UP).do("alarm", cast.draw(2, 4), heading=LEFT)
    )
    helper.walk(beside, speed=1.7).until(up_s, "kneel" if helped_up else "alarm", heading=DOWN)
    cast.add(helper.until(cast.end_s, "stand", heading=DOWN))
    extras(cast)
    down_s = round(fall_s + 0.6, 2)
    if helped_up:
        half_up_s = round(up_s + _RISE_S - 0.9, 2)
        return [(down_s, half_up_s)], [(fall_s, down_s), (half_up_s, round(half_up_s + 1.0, 2))]
    return [(down_s, cast.end_s)], [(fall_s, down_s)]


def _left_bag(cast: Cast, *, fetched: bool) -> Marks:
    """A person waits with a bag, then leaves without it. In some clips they come back for it."""
    spot = cast.near((0.0, 5.1), 0.3)
    path = from_side("left" if cast.rng.random() < 0.5 else "right", 5.6).walk(spot, speed=1.3)
    path.do("phone", cast.draw(1, 2), heading=cast.draw(-2.2, -0.9)).do("bend", 2.0)
    left_s = path.now_s
    path.walk((spot[0] + 0.4, 6.8), (1.2, 8.3) if fetched else (-4.6, 6.0), speed=1.5)
    back_s = cast.end_s
    if fetched:
        path.until(cast.end_s - 6.2, "browse", heading=UP).walk((spot[0] + 0.1, spot[1] + 0.2), speed=1.6)
        path.do("bend", 1.6, heading=DOWN)
        back_s = round(path.now_s - 0.8, 2)
        path.walk((-4.7, 5.0), speed=1.5)
    owner = cast.add(path.until(cast.end_s, "stand"))
    stays = [Stay(0, left_s, actor=owner), Stay(left_s, back_s, actor=None)]
    if fetched:
        stays.append(Stay(back_s, cast.end_s, actor=owner))
    cast.bag(*stays)
    extras(cast)
    gone_s, near_s = round(left_s + 1.0, 2), round(back_s - 1.0, 2)
    if fetched:
        return [(gone_s, near_s)], [(left_s, gone_s), (near_s, back_s)]
    return [(gone_s, cast.end_s)], [(left_s, gone_s)]


def _fight(cast: Cast) -> Marks:
    """Two people talk, argue and fight; one falls and is kicked; then they part."""
    one, two, _ = _together(cast, 0.0, 0.95)
    for path in (one, two):
        path.do("talk", 2.4)
    blow_s = one.now_s
    centre, turn = np.array([(one.xy[0] + two.xy[0]) / 2, one.xy[1]]), 0.0
    while one.now_s < blow_s + 5.0:
        turn = float(np.clip(turn + cast.rng.uniform(-0.5, 0.5), -0.6, 0.6))
        centre = np.clip(centre + cast.rng.uniform(-0.22, 0.22, 2), (-0.5, 4.9), (0.5, 5.4))
        gesture = "grapple" if cast.rng.random() < 0.3 else "punch"
        arm = (0.28 if gesture == "grapple" else 0.36) * np.array([math.cos(turn), math.sin(turn)])
        beat_s = cast.draw(0.5, 0.9)
        one.do(gesture, beat_s, heading=turn, xy=_point(centre - arm))
        two.do(gesture, beat_s, heading=turn + math.pi, xy=_point(centre + arm))
    two.do("ward", cast.draw(6.4, 7.6), heading=turn + math.pi, xy=_point(centre + arm))
    while one.now_s < two.now_s - 0.05:
        over = centre + arm + (cast.rng.uniform(-0.3, 0.3), cast.rng.uniform(0.5, 0.62))
        one.do("stomp", min(1.2, two.now_s - one.now_s), heading=DOWN, xy=_point(over))
    part_s = two.now_s
    one.walk((-4.7, 5.6), speed=2.4).until(cast.end_s, "stand")
    two.do("rise", _RISE_S).until(cast.end_s, "dizzy")
    cast.add(one)
    cast.add(two)
    extras(cast)
    first_s, half_up_s = round(blow_s + 0.5, 2), round(part_s + _RISE_S - 0.9, 2)
    return [(first_s, half_up_s)], [
        (blow_s, first_s),
        (half_up_s, min(round(half_up_s + 1.0, 2), cast.end_s)),
    ]


def _point(xy: np.ndarray) -> Point:
    return round(float(xy[0]), 3), round(float(xy[1]), 3)


_STORIES: dict[str, Callable[[Cast], Marks]] = {
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

# Split, file name, story.
_CLIPS: tuple[tuple[Split, str, str], ...] = (
    ("train", "Walk1.mpg", "Walk"),
    ("train", "Walk2.mp4", "Walk"),
    ("train", "Walk3.mpg", "Walk"),
    ("train", "Walk4.mp4", "Walk"),
    ("train", "Browse1.mpg", "Browse"),
    ("train", "Browse2.mp4", "Browse"),
    ("train", "Meet1.mpg", "Meet"),
    ("train", "Meet2.mp4", "Meet"),
    ("train", "Meet3.mpg", "Meet"),
    ("train", "Wait1.mp4", "Wait"),
    ("train", "Wait2.mpg", "Wait"),
    ("train", "Collapse1.mp4", "Collapse"),
    ("train", "Collapse2.mpg", "CollapseHelped"),
    ("train", "Collapse3.mp4", "Collapse"),
    ("train", "Collapse4.mpg", "CollapseHelped"),
    ("train", "LeftBag1.mp4", "LeftBag"),
    ("train", "LeftBag2.mpg", "LeftBagFetched"),
    ("train", "LeftBag3.mp4", "LeftBag"),
    ("train", "LeftBag4.mpg", "LeftBag"),
    ("train", "Fight1.mp4", "Fight"),
    ("train", "Fight2.mpg", "Fight"),
    ("train", "Fight3.mp4", "Fight"),
    ("train", "Fight4.mpg", "Fight"),
    ("test", "Walk5.mp4", "Walk"),
    ("test", "Browse3.mpg", "Browse"),
    ("test", "Meet4.mp4", "Meet"),
    ("test", "Wait3.mpg", "Wait"),
    ("test", "Collapse5.mp4", "CollapseHelped"),
    ("test", "LeftBag5.mpg", "LeftBag"),
    ("test", "Fight5.mp4", "Fight"),
    ("test", "Fight6.mpg", "Fight"),
)
_DURATION_S = 20.0


def script(seed: int) -> tuple[Clip, ...]:
    """Return all clips of the set with their labels, without drawing them."""
    clips = []
    for index, (split, file_name, story) in enumerate(_CLIPS):
        cast = Cast(np.random.default_rng([seed, index]), _DURATION_S)
        suspicious, unclear = _STORIES[story](cast)
        cast_of = tuple(cast.actors), tuple(cast.bags)
        clips.append(
            Clip(split, file_name, _DURATION_S, tuple(suspicious), tuple(unclear), *cast_of, (seed, index))
        )
    return tuple(clips)
