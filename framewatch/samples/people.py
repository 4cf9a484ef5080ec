"""Figures: a skeleton from joint angles, dressed, and drawn with smooth edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from framewatch.samples.camera import Camera
from framewatch.samples.poses import ANGLES

JOINTS = (
    "pelvis", "neck", "head", "hair",
    "hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r", "toe_l", "toe_r",
    "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "wrist_l", "wrist_r", "hand_l", "hand_r",
)  # fmt: skip
_J = {name: index for index, name in enumerate(JOINTS)}

_RADII_M = np.array(
    [0.12, 0.058, 0.112, 0.118, 0.098, 0.098, 0.066, 0.066, 0.048, 0.048, 0.040, 0.040]
    + [0.078, 0.078, 0.052, 0.052, 0.040, 0.040, 0.046, 0.046]
)
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 12, endpoint=False)),
                    np.sin(np.linspace(0, 2 * np.pi, 12, endpoint=False))], axis=-1)  # fmt: skip

# Size of each lit layer against the piece, and how far it is shifted to the light, in radii.
_LIT = ((0.80, 0.14), (0.50, 0.38))
_TO_LIGHT = np.array([0.65, 0.76])

SUPERSAMPLE = 3
_SHIFT = 4

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """What a person wears. Colours are BGR."""

    height_m: float
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    short_sleeves: bool = False
    coat: bool = False
    backpack: Colour | None = None

    def __post_init__(self) -> None:
        if not 1.4 <= self.height_m <= 2.1:
            raise ValueError(f"height_m must lie in [1.4, 2.1], got {self.height_m}")


@dataclass(frozen=True)
class Part:
    """A convex piece of a figure between joints."""

    joints: tuple[int, ...]
    colour: Colour


def parts_of(look: Look) -> tuple[Part, ...]:
    """The pieces of a dressed figure; they are drawn from far to near."""

    def part(colour: Colour, *joints: str) -> Part:
        return Part(tuple(_J[joint] for joint in joints), colour)

    pieces = []
    for side in "lr":
        pieces += [
            part(look.bottom, f"hip_{side}", f"knee_{side}"),
            part(look.bottom, f"knee_{side}", f"ankle_{side}"),
            part(look.shoes, f"ankle_{side}", f"toe_{side}"),
            part(look.top, f"shoulder_{side}", f"elbow_{side}"),
            part(look.skin if look.short_sleeves else look.top, f"elbow_{side}", f"wrist_{side}"),
            part(look.skin, f"hand_{side}"),
        ]
    if look.coat:
        pieces += [part(look.top, "hip_l", "hip_r", "knee_l"), part(look.top, "hip_l", "hip_r", "knee_r")]
    pieces += [
        part(look.bottom, "hip_l", "hip_r"),
        part(look.top, "shoulder_l", "shoulder_r", "hip_l", "hip_r"),
        part(look.skin, "neck", "head"),
        part(look.hair, "hair"),
    ]
    return tuple(pieces)


def _limb(bend: np.ndarray, out: np.ndarray, side: float) -> np.ndarray:
    """Direction of a limb that hangs down, is raised forward by `bend` and sideways by `out`."""
    return np.stack([side * np.sin(out) * np.ones_like(bend), np.sin(bend) * np.cos(out), -np.cos(bend) * np.cos(out)], -1)


def skeleton(angles: np.ndarray, height_m: float) -> np.ndarray:
    """Joints of a body that stands or lies at the origin and looks along +y.

    Args:
        angles: shape (T, len(ANGLES)), radians.
        height_m: standing height.

    Returns:
        Metres, shape (T, len(JOINTS), 3), x to its right, z up; the lowest point touches the floor.
    """
    a = dict(zip(ANGLES, angles.T, strict=True))
    zero = np.zeros(len(angles))
    joints = np.zeros((len(angles), len(JOINTS), 3))
    right = np.stack([np.cos(a["twist"]), np.sin(a["twist"]), zero], -1)
    lean, nod = a["lean"], a["lean"] + a["nod"]
    spine = np.stack([np.sin(a["side"]), np.sin(lean), np.cos(lean)], -1)
    face = np.stack([np.sin(a["side"]), np.sin(nod), np.cos(nod)], -1)
    forward = np.stack([zero, np.cos(nod), -np.sin(nod)], -1)
    neck = 0.53 * spine
    joints[:, _J["neck"]] = neck
    joints[:, _J["head"]] = neck + 0.20 * face + 0.025 * forward
    joints[:, _J["hair"]] = neck + 0.225 * face - 0.028 * forward
    for side, sign in (("l", -1.0), ("r", 1.0)):
        hip = np.array([sign * 0.095, 0.0, 0.0])
        bend = a[f"hip_{side}"]
        knee = hip + 0.43 * _limb(bend, a[f"spread_{side}"], sign)
        bend = bend - a[f"knee_{side}"]
        ankle = knee + 0.42 * _limb(bend, a[f"spread_{side}"], sign)
        toe = ankle + 0.17 * _limb(bend + np.pi / 2 - 0.15, zero, sign)
        shoulder = neck - 0.06 * spine + sign * 0.185 * right
        raised = a[f"arm_{side}"]
        elbow = shoulder + 0.29 * _limb(raised, a[f"out_{side}"], sign)
        raised = raised + a[f"elbow_{side}"]
        wrist = elbow + 0.25 * _limb(raised, a[f"out_{side}"] * 0.5, sign)
        hand = wrist + 0.06 * _limb(raised, a[f"out_{side}"] * 0.5, sign)
        for name, value in (("hip", hip), ("knee", knee), ("ankle", ankle), ("toe", toe),
                            ("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist), ("hand", hand)):  # fmt: skip
            joints[:, _J[f"{name}_{side}"]] = value
    joints = _turn(_turn(joints, a["tip"], 1), a["roll"], 0)
    joints[..., 2] -= (joints[..., 2] - _RADII_M).min(axis=1, keepdims=True)
    return joints * (height_m / 1.75)


def _turn(joints: np.ndarray, angle: np.ndarray, axis: int) -> np.ndarray:
    """Tip the body from upright towards +axis."""
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    level, up = joints[..., axis], joints[..., 2]
    turned = joints.copy()
    turned[..., axis], turned[..., 2] = level * cos + up * sin, up * cos - level * sin
    return turned


def place(joints: np.ndarray, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Put a skeleton at `xy` (T, 2) metres, facing `heading` (T,) radians counter-clockwise from +x."""
    sin, cos = np.sin(heading)[:, None], np.cos(heading)[:, None]
    right, ahead = joints[..., 0], joints[..., 1]
    x = ahead * cos + right * sin + xy[:, None, 0]
    y = ahead * sin - right * cos + xy[:, None, 1]
    return np.stack([x, y, joints[..., 2]], axis=-1)


class Figure:
    """One person through a whole clip, projected once for all frames."""

    def __init__(self, look: Look, joints: np.ndarray, camera: Camera) -> None:
        """Args: joints: world metres, shape (T, len(JOINTS), 3)."""
        self.parts = parts_of(look)
        self.tones = [_tones(part.colour) for part in self.parts]
        stature = look.height_m / 1.75
        centres, scale = camera.project(joints)
        radii = _RADII_M * stature * scale
        self.y_m = joints[:, _J["pelvis"], 1]
        self.rims = centres[:, :, None] + radii[..., None, None] * _CIRCLE
        # Light comes from above and from the left: the lit sides of each piece are shifted there.
        self.lit_rims = [
            (centres - shift * _TO_LIGHT * radii[..., None])[:, :, None] + size * radii[..., None, None] * _CIRCLE
            for size, shift in _LIT
        ]
        self.mirror_rims = _mirrored(joints, camera, _RADII_M * stature)
        self.shadow_rims = _cast(joints, camera, _RADII_M * stature)
        depth = [scale[:, list(part.joints)].mean(axis=1) for part in self.parts]
        self.order = np.argsort(np.stack(depth, axis=1), axis=1, kind="stable")
        low, high = self.rims.min(axis=(1, 2)), self.rims.max(axis=(1, 2))
        self.boxes = np.concatenate([np.floor(low) - 1, np.ceil(high) + 2], axis=1).astype(int)

    def draw(self, frame: np.ndarray, index: int) -> None:
        """Draw the figure of frame `index` over `frame`, uint8 BGR (HEIGHT, WIDTH, 3), in place."""
        box = _clip_box(self.boxes[index], frame.shape)
        if box is None:
            return
        left, top, right, bottom = box
        patch = frame[top:bottom, left:right]
        # Enlarged without smoothing and shrunk by area, the background comes back as it was, and edges
        # of what was drawn in between become smooth: no mask is needed.
        canvas = cv2.resize(patch, None, fx=SUPERSAMPLE, fy=SUPERSAMPLE, interpolation=cv2.INTER_NEAREST)
        layers = [_fixed_point(rims[index], left, top) for rims in (self.rims, *self.lit_rims)]
        for which in self.order[index]:
            joints = list(self.parts[which].joints)
            for rims, tone in zip(layers, self.tones[which], strict=True):
                _fill(canvas, rims[joints], tone)
        frame[top:bottom, left:right] = cv2.resize(
            canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )

    def reflect(self, frame: np.ndarray, index: int) -> None:
        """Mirror the figure faintly in the polished floor."""
        rims = self.mirror_rims[index]
        low, high = np.floor(rims.min(axis=(0, 1))).astype(int), np.ceil(rims.max(axis=(0, 1))).astype(int)
        box = _clip_box(np.concatenate([low - 4, high + 5]), frame.shape)
        if box is None:
            return
        left, top, right, bottom = box
        patch = frame[top:bottom, left:right]
        mirror = patch.copy()
        points = np.round(rims - (left, top)).astype(np.int32)
        for which in self.order[index]:
            part = self.parts[which]
            cv2.fillConvexPoly(mirror, cv2.convexHull(points[list(part.joints)].reshape(-1, 2)), part.colour)
        cv2.blur(mirror, (3, 7), mirror)
        cv2.addWeighted(patch, 0.82, mirror, 0.18, 0, patch)

    def shade(self, mask: np.ndarray, index: int) -> None:
        """Draw the shadow on `mask`, uint8 at half the size of the frame."""
        points = np.round(self.shadow_rims[index] / 2).astype(np.int32)
        for joints in _SHADOW_PARTS:
            cv2.fillConvexPoly(mask, cv2.convexHull(points[joints].reshape(-1, 2)), 255)


_SHADOW_PARTS = [
    [_J[name] for name in names]
    for names in (
        ("hip_l", "knee_l"), ("hip_r", "knee_r"), ("knee_l", "ankle_l", "toe_l"), ("knee_r", "ankle_r", "toe_r"),
        ("shoulder_l", "shoulder_r", "hip_l", "hip_r"), ("neck", "head"),
        ("shoulder_l", "elbow_l"), ("shoulder_r", "elbow_r"),
    )
]  # fmt: skip


def _tones(colour: Colour) -> list[tuple[float, ...]]:
    return [tuple(min(255.0, gain * c + lift) for c in colour) for gain, lift in ((0.66, 0), (0.88, 2), (1.06, 6))]


def _fixed_point(rims: np.ndarray, left: int, top: int) -> np.ndarray:
    return np.round((rims - (left, top)) * (SUPERSAMPLE << _SHIFT)).astype(np.int32)


def _fill(canvas: np.ndarray, rims: np.ndarray, colour: tuple[float, ...]) -> None:
    cv2.fillConvexPoly(canvas, cv2.convexHull(rims.reshape(-1, 2)), colour, shift=_SHIFT)


def _clip_box(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) inside the frame, or None where nothing of it is."""
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    right, bottom = min(shape[1], int(box[2])), min(shape[0], int(box[3]))
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None


def _mirrored(joints: np.ndarray, camera: Camera, radii_m: np.ndarray) -> np.ndarray:
    below = joints * np.array([1.0, 1.0, -1.0])
    centres, scale = camera.project(below)
    return centres[:, :, None] + (radii_m * scale)[..., None, None] * _CIRCLE


def _cast(joints: np.ndarray, camera: Camera, radii_m: np.ndarray) -> np.ndarray:
    """Rims of the joints' shadows, cast on the floor by high light from the left."""
    ground = joints.copy()
    ground[..., 0] += 0.30 * joints[..., 2]
    ground[..., 1] += 0.12 * joints[..., 2]
    ground[..., 2] = 0
    centres, scale = camera.project(ground)
    flat = np.array([1.0, 0.5])
    return centres[:, :, None] + (radii_m * scale)[..., None, None] * _CIRCLE * flat
