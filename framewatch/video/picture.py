"""Converts decoded frames to upright BGR pictures with square pixels."""

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

# A pixel is combing if it differs from the lines above and below by more than this, with the same sign.
_COMB_LEVELS = 12
# The steps of a rotation by 0, 90, 180 and 270 degrees counterclockwise; see `_steps`.
_TURNS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))


class FrameConverter:
    """Converts frames to pictures as a player shows them."""

    def __init__(self, *, max_side: int = 0) -> None:
        """Prepares for frames of one video.

        Args:
            max_side: maximum length of the longer side, pixels; 0 for no limit.
        """
        self._max_side = max_side
        # Read only when the rotation changes: PyAV frees a frame late once its side data was read.
        self._rotation: int | None = None
        self._steps = _TURNS[0]
        # Reused, because creating a reformatter takes four times as long as converting a small frame.
        self._reformatter = VideoReformatter()

    def upright(self, frame: Any, aspect: Fraction | None) -> np.ndarray:
        """Returns the picture of a frame, (height, width, 3) uint8 BGR.

        Deinterlaces, stretches non-square pixels along the width, rotates and mirrors by the metadata, and
        scales down if a side is longer than `max_side`.

        Args:
            frame: a PyAV frame in any pixel format.
            aspect: width of a pixel divided by its height; None if unknown.
        """
        image = self._reformatter.reformat(frame, format="bgr24").to_ndarray()
        if frame.interlaced_frame:
            image = _without_combs(image)
        if aspect and aspect != 1:
            image = _scaled(image, max(1, round(image.shape[1] * aspect)), image.shape[0])
        if frame.rotation != self._rotation:
            self._rotation, self._steps = frame.rotation, _steps(frame)
        image = _oriented(image, *self._steps)
        height, width = image.shape[:2]
        if 0 < self._max_side < max(height, width):
            scale = self._max_side / max(height, width)
            image = _scaled(image, max(1, round(width * scale)), max(1, round(height * scale)))
        return np.ascontiguousarray(image)


def _steps(frame: Any) -> tuple[int, int, int, int]:
    """Returns where a step to the right, (a, b), and a step down, (c, d), lead in the displayed picture."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")  # a picture may be mirrored without a rotation
    except ValueError:  # PyAV cannot read side data that includes a newer type, such as EXIF
        return _TURNS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(matrix), np.int32, count=5))
    return a, b, c, d


def _oriented(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Returns the picture rotated by multiples of 90 degrees, and mirrored."""
    if abs(a * d) < abs(b * c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _without_combs(image: np.ndarray) -> np.ndarray:
    """Deinterlaces: replaces combing in the lines of the second field by the mean of the lines around it."""
    if image.shape[0] < 4:
        return image
    odd = image[1:-1:2].astype(np.int16)
    above, below = image[0:-2:2][: len(odd)].astype(np.int16), image[2::2][: len(odd)].astype(np.int16)
    up, down = odd - above, odd - below
    comb = ((np.minimum(up, down) > _COMB_LEVELS) | (np.maximum(up, down) < -_COMB_LEVELS)).any(axis=2)
    smooth = image.copy()
    lines = smooth[1:-1:2]
    lines[comb] = ((above + below) // 2)[comb].astype(np.uint8)
    return smooth


def _scaled(image: np.ndarray, width: int, height: int) -> np.ndarray:
    grows = width > image.shape[1] or height > image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA)
