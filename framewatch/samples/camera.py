"""The fixed camera of the sample lobby: projects metres in the room to pixels in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH = 384
HEIGHT = 288
FPS = 25


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along +y and down, like a camera in the corner of a lobby.

    World axes in metres: x to the right, y away from the camera, z up, the floor at z = 0.
    """

    height_m: float = 3.4
    pitch_rad: float = 0.40
    focal_px: float = 435.0

    def __post_init__(self) -> None:
        if self.height_m <= 0 or self.focal_px <= 0:
            raise ValueError(f"height_m and focal_px must be above 0, got {self.height_m}, {self.focal_px}")

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project world points.

        Args:
            points: shape (..., 3), metres.

        Returns:
            Pixels, shape (..., 2), and the scale in pixels per metre, shape (...). A larger scale also means
            a smaller depth.
        """
        sin, cos = np.sin(self.pitch_rad), np.cos(self.pitch_rad)
        x, y, z = points[..., 0], points[..., 1], points[..., 2] - self.height_m
        depth = np.maximum(y * cos - z * sin, 0.1)
        scale = self.focal_px / depth
        column = WIDTH / 2 + x * scale
        row = HEIGHT / 2 - (y * sin + z * cos) * scale
        return np.stack([column, row], axis=-1), scale

    def rays(self, supersample: int) -> np.ndarray:
        """Return the view direction of each subpixel, (HEIGHT * supersample, WIDTH * supersample, 3)."""
        sin, cos = np.sin(self.pitch_rad), np.cos(self.pitch_rad)
        columns = (np.arange(WIDTH * supersample) + 0.5) / supersample - WIDTH / 2
        rows = HEIGHT / 2 - (np.arange(HEIGHT * supersample) + 0.5) / supersample
        right, up = np.meshgrid(columns / self.focal_px, rows / self.focal_px)
        return np.stack([right, cos + up * sin, up * cos - sin], axis=-1)
