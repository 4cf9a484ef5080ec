"""Poses: joint angles for each gesture, as functions of time.

A pose is a row of `ANGLES` in radians. Unlike coordinates, angles can be blended without changing the length
of a limb.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ANGLES = (
    "lean", "side", "twist",
    "hip_l", "hip_r", "spread_l", "spread_r", "knee_l", "knee_r",
    "arm_l", "arm_r", "out_l", "out_r", "elbow_l", "elbow_r",
    "nod", "tip", "roll",
)  # fmt: skip
"""Torso forward and to the right, shoulders relative to hips; hips forward and outward, knees; arms forward
and outward, elbows; head forward; the whole body tipped forward (face down) and rolled to its right."""

_INDEX = {name: index for index, name in enumerate(ANGLES)}

Gesture = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""(seconds since the start (T,), progress 0..1 (T,), the actor's own phase) -> angles (T, len(ANGLES))."""


def pose(count: int, **angles: float | np.ndarray) -> np.ndarray:
    """Return angles by name, shape (count, len(ANGLES)); the other angles are 0.

    A name without a side (`knee` for `knee_l` and `knee_r`) sets both sides.
    """
    rows = np.zeros((count, len(ANGLES)))
    for name, value in angles.items():
        for part in (name,) if name in _INDEX else (f"{name}_l", f"{name}_r"):
            rows[:, _INDEX[part]] = value
    return rows


def gait(stride: np.ndarray) -> np.ndarray:
    """Walk.

    Args:
        stride: phase of the stride in radians, shape (T,); two steps are one cycle.
    """
    swing, lift = np.sin(stride), np.cos(stride)
    return pose(
        len(stride),
        lean=0.06,
        twist=0.12 * swing,
        hip_l=0.52 * swing + 0.06,
        hip_r=-0.52 * swing + 0.06,
        knee_l=0.12 + 0.75 * np.maximum(0, lift),
        knee_r=0.12 + 0.75 * np.maximum(0, -lift),
        arm_l=-0.48 * swing,
        arm_r=0.48 * swing,
        out=0.10,
        elbow_l=0.32 - 0.15 * swing,
        elbow_r=0.32 + 0.15 * swing,
        nod=0.05,
    )


def _stand(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    sway = np.sin(0.7 * t + phase)
    return pose(
        len(t), side=0.03 * sway, spread=0.07, out=0.12, elbow=0.22, nod=0.08 + 0.08 * sway, knee=0.05
    )


def _browse(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Move one hand over objects in front; the head follows."""
    reach = 0.5 + 0.5 * np.sin(0.9 * t + phase)
    rows = _stand(t, u, phase)
    rows += pose(
        len(t), lean=0.12 + 0.08 * reach, nod=0.18, arm_r=0.5 + 0.75 * reach, elbow_r=0.75 - 0.4 * reach
    )
    return rows


def _phone(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    return _stand(t, u, phase) + pose(len(t), arm=0.42, elbow=1.45, nod=0.40)


def _call(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    return _stand(t, u, phase) + pose(len(t), arm_r=0.7, out_r=0.45, elbow_r=2.1, side=0.05)


def _talk(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    beat = np.maximum(0, np.sin(2.3 * t + phase)) * (0.5 + 0.5 * np.sin(0.6 * t + 2 * phase))
    other = np.maximum(0, np.sin(1.7 * t + 2 * phase)) * (0.5 - 0.5 * np.sin(0.6 * t + 2 * phase))
    rows = _stand(t, u, phase)
    rows += pose(
        len(t), arm_r=0.65 * beat, elbow_r=1.1 * beat, arm_l=0.5 * other, elbow_l=0.9 * other, nod=0.08 * beat
    )
    return rows


def _greet(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    shake = 0.06 * np.sin(14 * t)
    return _stand(t, u, phase) + pose(len(t), lean=0.06, arm_r=0.5 + shake, elbow_r=0.75)


def _sit(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    sway = np.sin(0.5 * t + phase)
    return pose(
        len(t),
        lean=0.06 + 0.06 * sway,
        hip=1.45,
        knee=1.5,
        spread=0.14,
        arm=0.42,
        elbow=1.0,
        nod=0.15 + 0.1 * sway,
    )


def _bend(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Bend down to a shoe or a bag, and get up again."""
    deep = np.clip(3 * np.sin(np.pi * u), 0, 1)
    return _stand(t, u, phase) + deep[:, None] * pose(
        len(t), lean=0.95, hip_l=1.2, hip_r=0.95, knee_l=1.75, knee_r=1.5, arm=0.25, elbow=0.1, nod=0.15
    )


def _kneel(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Kneel on one knee beside someone, with hands on them."""
    care = np.sin(1.6 * t + phase)
    return pose(
        len(t), lean=0.62 + 0.06 * care, hip_l=1.5, hip_r=0.05, knee_l=1.55, knee_r=1.65,
        arm=0.75 + 0.15 * care, out=0.12, elbow=0.35, nod=0.35,
    )  # fmt: skip


def _alarm(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Raise the hands to the head in shock."""
    shake = np.sin(2.0 * t + phase)
    return _stand(t, u, phase) + pose(len(t), lean=0.08, arm=1.0 + 0.1 * shake, out=0.45, elbow=2.0, nod=0.12)


def _dizzy(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Stand unsteadily, with one hand at the chest."""
    sway = np.sin(2.2 * t + phase)
    return _stand(t, u, phase) + pose(len(t), lean=0.12, side=0.06 * sway, arm_r=0.55, elbow_r=1.9, nod=0.2)


def _lying(count: int) -> np.ndarray:
    """Lie flat on the back."""
    return pose(
        count, tip=-1.5, hip_l=0.12, hip_r=0.45, knee_l=0.15, knee_r=0.95, spread=0.22,
        out_l=1.15, out_r=0.75, elbow_l=0.45, elbow_r=0.3, arm=-0.1, twist=0.15,
    )  # fmt: skip


def _lie(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    twitch = np.maximum(0, np.sin(0.8 * t + phase)) ** 6
    return _lying(len(t)) + pose(len(t), knee_r=0.12 * twitch, elbow_l=0.2 * twitch)


def _fall(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Collapse: the knees give way, then the body drops."""
    drop = np.clip(u * 1.05, 0, 1)[:, None] ** 2
    buckle = np.sin(np.pi * np.clip(u, 0, 1))
    rows = (1 - drop) * _dizzy(t, u, phase) + drop * _lying(len(t))
    return rows + pose(len(t), hip=0.7 * buckle, knee=1.2 * buckle, out=0.4 * buckle)


def _rise(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    up = (u * u * (3 - 2 * u))[:, None]
    crouch = np.sin(np.pi * u)
    rows = (1 - up) * _lying(len(t)) + up * _stand(t, u, phase)
    return rows + pose(len(t), hip=1.3 * crouch, knee=1.5 * crouch, lean=0.5 * crouch)


def _jerk(t: np.ndarray, rate: float, phase: float) -> np.ndarray:
    """Return abrupt, irregular strikes: 0 at rest, 1 at full reach."""
    wave = np.sin(rate * t + phase) + 0.5 * np.sin(1.618 * rate * t + 2.3 * phase)
    return np.clip(1.6 * wave, 0, 1)


def _punch(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    left, right = _jerk(t, 7.0, phase), _jerk(t, 7.0, phase + np.pi)
    kick = _jerk(t, 3.1, 2 * phase) * (np.sin(1.1 * t + phase) > 0.3)
    return pose(
        len(t), lean=0.28 + 0.12 * right, twist=0.5 * (left - right), side=0.12 * (right - left),
        hip_l=0.55 + 0.2 * left, hip_r=-0.45 + 1.5 * kick, knee_l=0.55, knee_r=0.3 + 0.3 * kick, spread=0.2,
        arm_l=0.75 + 0.85 * left, arm_r=0.75 + 0.85 * right, out_l=0.35, out_r=0.35,
        elbow_l=1.7 - 1.6 * left, elbow_r=1.7 - 1.6 * right, nod=0.15,
    )  # fmt: skip


def _grapple(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Hold the other person with both hands and pull back and forth."""
    pull = np.sin(6.0 * t + phase)
    return pose(
        len(t), lean=0.55 + 0.12 * pull, side=0.22 * np.sin(3.7 * t + phase), twist=0.35 * pull,
        hip_l=0.75, hip_r=-0.5, knee_l=0.8, knee_r=0.4 + 0.2 * pull, spread=0.28,
        arm_l=1.5 + 0.25 * pull, arm_r=1.4 - 0.3 * pull, out=0.3, elbow=0.45, nod=0.2,
    )  # fmt: skip


def _stomp(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Kick someone on the floor, with arms out for balance."""
    kick = _jerk(t, 5.5, phase)
    return pose(
        len(t), lean=0.32 - 0.2 * kick, hip_l=0.1, hip_r=-0.3 + 1.25 * kick,
        knee_l=0.3, knee_r=0.9 - 0.7 * kick, arm=0.3, out_l=0.9 + 0.3 * kick, out_r=0.75,
        elbow=0.7, nod=0.4, spread=0.1,
    )  # fmt: skip


def _ward(t: np.ndarray, u: np.ndarray, phase: float) -> np.ndarray:
    """Lie on the back, with arms and knees up against blows."""
    kick = np.sin(5.0 * t + phase)
    return pose(
        len(t), tip=-1.48, roll=0.12 * kick, lean=0.12, hip_l=0.45 + 0.3 * kick, hip_r=0.35 - 0.3 * kick,
        knee_l=0.8, knee_r=0.9 + 0.3 * kick, spread=0.3, arm=1.1 + 0.4 * kick, out=0.7, elbow=0.7, nod=0.2,
    )  # fmt: skip


GESTURES: dict[str, Gesture] = {
    "stand": _stand,
    "browse": _browse,
    "phone": _phone,
    "call": _call,
    "talk": _talk,
    "greet": _greet,
    "sit": _sit,
    "bend": _bend,
    "kneel": _kneel,
    "alarm": _alarm,
    "dizzy": _dizzy,
    "fall": _fall,
    "lie": _lie,
    "rise": _rise,
    "punch": _punch,
    "grapple": _grapple,
    "stomp": _stomp,
    "ward": _ward,
}
"""All gestures of an actor, except walking, which is `gait`."""
