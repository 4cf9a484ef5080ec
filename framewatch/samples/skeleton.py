"""Converts joint angles to joint positions in the room."""

from __future__ import annotations

import numpy as np

from framewatch.samples.poses import ANGLES

JOINTS = (
    "neck", "head", "hair", "hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r", "toe_l", "toe_r",
    "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "wrist_l", "wrist_r", "hand_l", "hand_r",
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINTS)}
"""Index of each joint."""

_RADIUS_M = {
    "neck": 0.058, "head": 0.112, "hair": 0.118, "hip": 0.098, "knee": 0.066, "ankle": 0.048, "toe": 0.040,
    "shoulder": 0.078, "elbow": 0.052, "wrist": 0.040, "hand": 0.046,
}  # fmt: skip
RADII_M = np.array([_RADIUS_M[name.split("_")[0]] for name in JOINTS])
"""Radius of a body of STATURE_M around each joint, with clothes."""

STATURE_M = 1.75
"""The body height to which all lengths here refer; other bodies are scaled."""


def skeleton(angles: np.ndarray, height_m: float) -> np.ndarray:
    """Return the joints of a body that stands or lies at the origin and faces +y.

    Args:
        angles: shape (T, len(ANGLES)), radians.
        height_m: standing height.

    Returns:
        Metres, shape (T, len(JOINTS), 3), x to the body's right, z up; the lowest point touches the floor.
    """
    a = dict(zip(ANGLES, angles.T, strict=True))
    parts = {**_trunk(a), **_legs(a)}
    parts.update(_arms(a, parts["neck"]))
    joints = np.stack([parts[name] for name in JOINTS], axis=1)
    joints = _turn(_turn(joints, a["tip"], 1), a["roll"], 0)
    joints[..., 2] -= (joints[..., 2] - RADII_M).min(axis=1, keepdims=True)
    return joints * (height_m / STATURE_M)


def place(joints: np.ndarray, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Move a skeleton to `xy` (T, 2) metres, facing `heading` (T,) radians counter-clockwise from +x."""
    sin, cos = np.sin(heading)[:, None], np.cos(heading)[:, None]
    right, ahead = joints[..., 0], joints[..., 1]
    x = ahead * cos + right * sin + xy[:, None, 0]
    y = ahead * sin - right * cos + xy[:, None, 1]
    return np.stack([x, y, joints[..., 2]], axis=-1)


def _trunk(a: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return neck, head and hair, relative to the hips."""
    lean, nod = a["lean"], a["lean"] + a["nod"]
    neck = 0.53 * np.stack([np.sin(a["side"]), np.sin(lean), np.cos(lean)], axis=-1)
    up = np.stack([np.sin(a["side"]), np.sin(nod), np.cos(nod)], axis=-1)
    ahead = np.stack([np.zeros_like(nod), np.cos(nod), -np.sin(nod)], axis=-1)
    # The hair is above and behind the face, so it hides the face from behind and frames it from the front.
    return {"neck": neck, "head": neck + 0.20 * up + 0.025 * ahead, "hair": neck + 0.225 * up - 0.028 * ahead}


def _legs(a: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    joints: dict[str, np.ndarray] = {}
    for side, sign in (("l", -1.0), ("r", 1.0)):
        thigh, spread = a[f"hip_{side}"], a[f"spread_{side}"]
        shin = thigh - a[f"knee_{side}"]
        hip = np.zeros((len(thigh), 3)) + np.array([sign * 0.095, 0.0, 0.0])
        knee = hip + 0.43 * _limb(thigh, spread, sign)
        ankle = knee + 0.42 * _limb(shin, spread, sign)
        toe = ankle + 0.17 * _limb(shin + np.pi / 2 - 0.15, 0 * spread, sign)
        joints |= {f"hip_{side}": hip, f"knee_{side}": knee, f"ankle_{side}": ankle, f"toe_{side}": toe}
    return joints


def _arms(a: dict[str, np.ndarray], neck: np.ndarray) -> dict[str, np.ndarray]:
    joints: dict[str, np.ndarray] = {}
    right = np.stack([np.cos(a["twist"]), np.sin(a["twist"]), np.zeros_like(a["twist"])], axis=-1)
    for side, sign in (("l", -1.0), ("r", 1.0)):
        upper, out = a[f"arm_{side}"], a[f"out_{side}"]
        fore = _limb(upper + a[f"elbow_{side}"], out / 2, sign)
        shoulder = 0.887 * neck + sign * 0.185 * right
        elbow = shoulder + 0.29 * _limb(upper, out, sign)
        joints |= {f"shoulder_{side}": shoulder, f"elbow_{side}": elbow}
        joints |= {f"wrist_{side}": elbow + 0.25 * fore, f"hand_{side}": elbow + 0.31 * fore}
    return joints


def _limb(bend: np.ndarray, out: np.ndarray, side: float) -> np.ndarray:
    """Return the direction of a limb that is raised from hanging, forward by `bend`, sideways by `out`."""
    across = side * np.sin(out) * np.ones_like(bend)
    return np.stack([across, np.sin(bend) * np.cos(out), -np.cos(bend) * np.cos(out)], axis=-1)


def _turn(joints: np.ndarray, angle: np.ndarray, axis: int) -> np.ndarray:
    """Tilt the body from upright towards +axis."""
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    level, up = joints[..., axis], joints[..., 2]
    turned = joints.copy()
    turned[..., axis], turned[..., 2] = level * cos + up * sin, up * cos - level * sin
    return turned
