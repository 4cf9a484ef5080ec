"""Draws suitcases that a person rolls, or that stand on the floor."""

from __future__ import annotations

import cv2
import numpy as np

from framewatch.samples.camera import Camera

_ACROSS_M, _ALONG_M, _UP_M, _BAR_M = 0.50, 0.30, 0.72, 0.34

_SUPERSAMPLE = 3
_SHIFT = 4
_CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2


class Luggage:
    """One bag in a whole clip, projected once for all frames."""

    def __init__(
        self, colour: tuple[int, int, int], base: np.ndarray, heading: np.ndarray, camera: Camera
    ) -> None:
        """Args: base: middle of its foot, metres, shape (T, 3); heading: radians, shape (T,)."""
        sin, cos = np.sin(heading)[:, None], np.cos(heading)[:, None]
        right, ahead = _ACROSS_M * _CORNERS[:, 0], _ALONG_M * _CORNERS[:, 1]
        flat = np.stack([ahead * cos + right * sin, ahead * sin - right * cos, 0 * right * cos], axis=-1)
        floor = base[:, None] + flat
        top = floor + np.array([0, 0, _UP_M])
        handle = _handle(base, flat)
        self.y_m = base[:, 1]
        self.colour = colour
        self.faces, scale = camera.project(np.concatenate([floor, top], axis=1))
        self.handle, _ = camera.project(handle)
        self.thickness = np.maximum(2, np.round(0.035 * scale.mean(axis=1) * _SUPERSAMPLE)).astype(int)
        cast = np.concatenate([floor, floor + _UP_M * np.array([0.30, 0.12, 0])], axis=1)
        self.shadow, _ = camera.project(cast)
        points = np.concatenate([self.faces, self.handle], axis=1)
        self.boxes = np.concatenate([points.min(axis=1) - 3, points.max(axis=1) + 4], axis=1).astype(int)

    def draw(self, frame: np.ndarray, index: int) -> None:
        """Draw the bag of frame `index` over `frame`, uint8 BGR, in place."""
        left, top = np.maximum(self.boxes[index, :2], 0)
        right, bottom = np.minimum(self.boxes[index, 2:], (frame.shape[1], frame.shape[0]))
        if right - left < 2 or bottom - top < 2:
            return
        patch = frame[top:bottom, left:right]
        canvas = cv2.resize(patch, None, fx=_SUPERSAMPLE, fy=_SUPERSAMPLE, interpolation=cv2.INTER_NEAREST)
        points = np.round((self.faces[index] - (left, top)) * (_SUPERSAMPLE << _SHIFT)).astype(np.int32)
        line = np.round((self.handle[index] - (left, top)) * (_SUPERSAMPLE << _SHIFT)).astype(np.int32)
        thickness = int(self.thickness[index])
        cv2.polylines(canvas, [line], False, (58, 58, 60), thickness, shift=_SHIFT)
        cv2.fillConvexPoly(canvas, cv2.convexHull(points), self._tone(0.62), shift=_SHIFT)
        for face, gain in self._visible(index):
            cv2.fillConvexPoly(canvas, points[face], self._tone(gain), shift=_SHIFT)
            cv2.polylines(
                canvas, [points[face]], True, self._tone(0.5 * gain), max(1, thickness // 3), shift=_SHIFT
            )
            self._ribs(canvas, points[face], gain, thickness)
        frame[top:bottom, left:right] = cv2.resize(
            canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )

    def shade(self, mask: np.ndarray, index: int) -> None:
        """Draw the shadow on `mask`, uint8 at half the size of the frame."""
        points = np.round(self.shadow[index] / 2).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255)

    def reflect(self, frame: np.ndarray, index: int) -> None:
        """Do nothing: a bag is so close to its shadow that no reflection is visible."""

    def _ribs(self, canvas: np.ndarray, face: np.ndarray, gain: float, thickness: int) -> None:
        """Return the grooves of a hard shell, between the first and the second edge of a face."""
        for share in (0.3, 0.5, 0.7):
            ends = (1 - share) * face[[0, 3]] + share * face[[1, 2]]
            line = np.round(0.88 * ends + 0.12 * ends[::-1]).astype(np.int32)
            cv2.polylines(
                canvas, [line], False, self._tone(0.72 * gain), max(1, thickness // 3), shift=_SHIFT
            )

    def _tone(self, gain: float) -> tuple[float, ...]:
        return tuple(min(255.0, channel * gain) for channel in self.colour)

    def _visible(self, index: int) -> list[tuple[list[int], float]]:
        """Return the sides that face the camera, shaded by their direction, and then the lid."""
        points = self.faces[index]
        faces: list[tuple[list[int], float]] = []
        for a in range(4):
            b = (a + 1) % 4
            edge = points[b] - points[a]
            # From above, the near sides are those whose bottom edge runs to the right.
            if edge[0] > 0:
                slope = float(abs(edge[1]) / np.hypot(*edge))
                faces.append(([a, b, b + 4, a + 4], 0.92 - 0.28 * slope))
        faces.append(([4, 5, 6, 7], 1.22))
        return faces


def _handle(base: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Return the extended handle: four points, shape (T, 4, 3)."""
    left, right = (base + 0.55 * flat[:, near] + 0.1 * flat[:, far] for near, far in ((0, 3), (1, 2)))
    lid, bar = np.array([0, 0, _UP_M]), np.array([0, 0, _UP_M + _BAR_M])
    return np.stack([left + lid, left + bar, right + bar, right + lid], axis=1)
