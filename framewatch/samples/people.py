"""Draws figures: dressed skeletons with smooth edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from framewatch.samples.camera import Camera
from framewatch.samples.skeleton import JOINT, RADII_M, STATURE_M

_ANGLE = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=-1)

# Size of each lit layer relative to the piece, and its shift towards the light, in radii.
_LIT = ((0.80, 0.14), (0.50, 0.38))
_TO_LIGHT = np.array([0.65, 0.76])

SUPERSAMPLE = 3
_SHIFT = 4

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """The clothes of a person. Colors are BGR."""

    height_m: float
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    short_sleeves: bool = False
    coat: bool = False

    def __post_init__(self) -> None:
        if not 1.4 <= self.height_m <= 2.1:
            raise ValueError(f"height_m must lie in [1.4, 2.1], got {self.height_m}")


@dataclass(frozen=True)
class BodyPart:
    """A convex piece of a figure between joints."""

    joints: tuple[int, ...]
    colour: Colour


def parts_of(look: Look) -> tuple[BodyPart, ...]:
    """Return the pieces of a dressed figure, which are drawn from far to near."""

    def part(colour: Colour, *joints: str) -> BodyPart:
        return BodyPart(tuple(JOINT[joint] for joint in joints), colour)

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
        pieces.append(part(look.top, "hip_l", "hip_r", "knee_l", "knee_r"))
    pieces += [
        part(look.bottom, "hip_l", "hip_r"),
        part(look.top, "shoulder_l", "shoulder_r", "hip_l", "hip_r"),
        part(look.skin, "neck", "head"),
        part(look.hair, "hair"),
    ]
    return tuple(pieces)


class Figure:
    """One person in a whole clip, projected once for all frames."""

    def __init__(self, look: Look, joints: np.ndarray, camera: Camera) -> None:
        """Args: joints: world metres, shape (T, number of joints, 3)."""
        self.parts = parts_of(look)
        self.tones = [_tones(part.colour) for part in self.parts]
        stature = look.height_m / STATURE_M
        centres, scale = camera.project(joints)
        radii = RADII_M * stature * scale
        self.y_m = joints[:, [JOINT["hip_l"], JOINT["hip_r"]], 1].mean(axis=1)
        self.rims = centres[:, :, None] + radii[..., None, None] * _CIRCLE
        # Light comes from above and from the left, so the lit layers of each piece are shifted there.
        self.lit_rims = [
            (centres - shift * _TO_LIGHT * radii[..., None])[:, :, None]
            + size * radii[..., None, None] * _CIRCLE
            for size, shift in _LIT
        ]
        self.mirror_rims = _mirrored(joints, camera, RADII_M * stature)
        self.shadow_rims = _cast(joints, camera, RADII_M * stature)
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
        # Enlarging with nearest pixels and shrinking by area restores the background exactly, and smooths the
        # edges of what was drawn in between, without a mask.
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
        """Draw a faint reflection of the figure in the polished floor."""
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
    [JOINT[name] for name in names]
    for names in (
        ("hip_l", "knee_l"), ("hip_r", "knee_r"),
        ("knee_l", "ankle_l", "toe_l"), ("knee_r", "ankle_r", "toe_r"),
        ("shoulder_l", "shoulder_r", "hip_l", "hip_r"), ("neck", "head"),
        ("shoulder_l", "elbow_l"), ("shoulder_r", "elbow_r"),
    )
]  # fmt: skip


def _tones(colour: Colour) -> list[tuple[float, ...]]:
    return [
        tuple(min(255.0, gain * c + lift) for c in colour) for gain, lift in ((0.66, 0), (0.88, 2), (1.06, 6))
    ]


def _fixed_point(rims: np.ndarray, left: int, top: int) -> np.ndarray:
    return np.round((rims - (left, top)) * (SUPERSAMPLE << _SHIFT)).astype(np.int32)


def _fill(canvas: np.ndarray, rims: np.ndarray, colour: tuple[float, ...]) -> None:
    cv2.fillConvexPoly(canvas, cv2.convexHull(rims.reshape(-1, 2)), colour, shift=_SHIFT)


def _clip_box(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) inside the frame, or None if it is outside."""
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    right, bottom = min(shape[1], int(box[2])), min(shape[0], int(box[3]))
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None


def _mirrored(joints: np.ndarray, camera: Camera, radii_m: np.ndarray) -> np.ndarray:
    below = joints * np.array([1.0, 1.0, -1.0])
    centres, scale = camera.project(below)
    return centres[:, :, None] + (radii_m * scale)[..., None, None] * _CIRCLE


def _cast(joints: np.ndarray, camera: Camera, radii_m: np.ndarray) -> np.ndarray:
    """Return the outlines of the joints' shadows on the floor, from a high light on the left."""
    ground = joints.copy()
    ground[..., 0] += 0.30 * joints[..., 2]
    ground[..., 1] += 0.12 * joints[..., 2]
    ground[..., 2] = 0
    centres, scale = camera.project(ground)
    flat = np.array([1.0, 0.5])
    return centres[:, :, None] + (radii_m * scale)[..., None, None] * _CIRCLE * flat
