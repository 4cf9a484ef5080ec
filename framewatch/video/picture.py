"""Decoded frames -> upright BGR pictures with square pixels."""

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

# A pixel belongs to a comb where it differs from the lines above and below it by this much, the same way.
_COMB_LEVELS = 12
# Of 0, 90, 180 and 270 degrees counterclockwise: see `_steps`.
_TURNS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))


class Pictures:
    """Makes pictures of frames, as a person would see them."""

    def __init__(self, *, max_side: int = 0) -> None:
        """Prepares for frames of one video.

        Args:
            max_side: the longer side of larger pictures, pixels; 0 for any.
        """
        self._max_side = max_side
        # Once for all frames: PyAV frees none whose side data was read before its collector of garbage runs.
        self._rotation: int | None = None
        self._steps = _TURNS[0]
        # One for all: preparing a conversion takes four times as long as converting a small frame.
        self._reformatter = VideoReformatter()

    def upright(self, frame: Any, aspect: Fraction | None) -> np.ndarray:
        """The picture of a frame: (height, width, 3) uint8 BGR.

        Combs of interlaced frames are smoothed away, pixels that are not square are stretched along the
        width, the picture is turned and mirrored as its metadata asks for, and scaled down if it is larger
        than `max_side`.

        Args:
            frame: of PyAV, in any pixel format.
            aspect: width of a pixel over its height; None where unknown.
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
    """Where a step to the right, (a, b), and a step down, (c, d), lead in the picture as players show it."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")  # a mirror image of a picture may have no rotation
    except ValueError:  # PyAV reads none where one is of a kind that is newer, such as EXIF
        return _TURNS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(matrix), np.int32, count=5))
    return a, b, c, d


def _oriented(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Turned by whole right angles and mirrored."""
    if abs(a * d) < abs(b * c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _without_combs(image: np.ndarray) -> np.ndarray:
    """Where the two fields disagree, the second's lines are taken from the first's, above and below."""
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
