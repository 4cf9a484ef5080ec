"""Describes what moves between the pictures of a burst: numbers from dense optical flow.

The numbers do not depend on where in the picture something moves, so that a classifier learns how people
move and not where a camera stood. The flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse
Search", ECCV 2016) between consecutive pictures, shrunk to 160 x 120 gray pixels, without the median flow,
which is mostly the motion of the camera. Speeds are in picture widths per second.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

_WIDTH, _HEIGHT = 160, 120
# Limits of the histogram of speeds, picture widths per second; slower than the first counts as still.
_SPEEDS = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
_MOVING = 0.1
_DIRECTIONS, _CELLS, _LARGEST_CELLS, _LARGEST_BLOBS = 8, 4, 8, 3
# Smaller moving areas, in shares of the picture, are noise.
_BLOB_SHARE = 0.002
# Change of brightness, 0 to 1, from which on a pixel counts as different.
_DIFFERENT = 0.06
_TINY = 1e-9

MOTION_FIELDS = (
    # Speed over all pixels: mean, standard deviation, percentiles, maximum.
    *(
        "speed_mean",
        "speed_std",
        "speed_p50",
        "speed_p75",
        "speed_p90",
        "speed_p95",
        "speed_p99",
        "speed_max",
    ),
    # Share of pixels in each interval of _SPEEDS, the slowest first.
    *(f"speed_share_{number}" for number in range(1, len(_SPEEDS) + 2)),
    # Share of each of 8 directions in the sum of speeds that are not still, the largest first; their entropy.
    *(f"direction_{number}" for number in range(1, _DIRECTIONS + 1)),
    "direction_entropy",
    # Mean speed in the fastest cells of a 4 x 4 grid, the fastest first.
    *(f"cell_{number}" for number in range(1, _LARGEST_CELLS + 1)),
    # Shares of the picture: of the largest connected moving regions; their number; of all that moves.
    *(f"blob_{number}" for number in range(1, _LARGEST_BLOBS + 1)),
    *("blobs", "moving"),
    # Absolute divergence (du/dx + dv/dy) and curl (dv/dx - du/dy) per pixel: mean and 95th percentile.
    *("divergence_mean", "divergence_p95", "curl_mean", "curl_p95"),
    # Absolute difference of brightness: mean, 95th percentile, share of different pixels.
    *("difference_mean", "difference_p95", "difference_share"),
    # Speed of the median flow, which is taken off.
    "camera_speed",
)


def burst_motion(pictures: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> np.ndarray:
    """Returns the mean, over consecutive pictures, of the numbers named by `MOTION_FIELDS`.

    Args:
        pictures: (height, width, 3) uint8 BGR each, two or more.
        timestamps_s: the time of each picture, ascending.

    Returns:
        (len(MOTION_FIELDS),) float32.
    """
    grays = [_gray(picture) for picture in pictures]
    pairs = zip(itertools.pairwise(grays), itertools.pairwise(timestamps_s), strict=True)
    return np.mean([_between(*two, end_s - begin_s) for two, (begin_s, end_s) in pairs], axis=0)


def _gray(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(picture, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)


@functools.cache
def _optical_flow() -> Any:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow.setFinestScale(1)  # half the size; the preset's quarter misses people who are small in the picture
    return flow


def _between(before: np.ndarray, after: np.ndarray, step_s: float) -> np.ndarray:
    """Returns the numbers for two gray pictures."""
    flow = _optical_flow().calc(before, after, None) / (_WIDTH * step_s)
    median = np.median(flow.reshape(-1, 2), axis=0)
    flow -= median
    speed = np.hypot(flow[..., 0], flow[..., 1])
    numbers = [
        *_speeds(speed.ravel()),
        *_directions(flow, speed),
        *_cells(speed),
        *_blobs(speed),
        *_derivatives(flow),
        *_differences(before, after),
        np.hypot(*median),
    ]
    return np.array(numbers, np.float32)


def _speeds(speed: np.ndarray) -> list[float]:
    shares = np.bincount(np.searchsorted(_SPEEDS, speed), minlength=len(_SPEEDS) + 1) / speed.size
    percentiles = np.percentile(speed, (50, 75, 90, 95, 99))
    return [speed.mean(), speed.std(), *percentiles, speed.max(), *shares]


def _directions(flow: np.ndarray, speed: np.ndarray) -> list[float]:
    moving = speed > _SPEEDS[0]
    turn = np.arctan2(flow[..., 1][moving], flow[..., 0][moving]) / (2 * np.pi) + 0.5
    sectors = (turn * _DIRECTIONS).astype(int) % _DIRECTIONS
    sums = np.bincount(sectors, weights=speed[moving], minlength=_DIRECTIONS)
    shares = np.sort(sums / max(sums.sum(), _TINY))[::-1]
    return [*shares, -np.sum(shares * np.log(np.maximum(shares, _TINY)))]


def _cells(speed: np.ndarray) -> list[float]:
    means = speed.reshape(_CELLS, _HEIGHT // _CELLS, _CELLS, _WIDTH // _CELLS).mean(axis=(1, 3))
    return list(np.sort(means.ravel())[::-1][:_LARGEST_CELLS])


def _blobs(speed: np.ndarray) -> list[float]:
    moving = (speed > _MOVING).astype(np.uint8)
    _, _, regions, _ = cv2.connectedComponentsWithStats(moving)
    areas = np.sort(regions[1:, cv2.CC_STAT_AREA])[::-1] / speed.size  # the first is what does not move
    areas = areas[areas > _BLOB_SHARE]
    largest = np.zeros(_LARGEST_BLOBS)
    largest[: len(areas)] = areas[:_LARGEST_BLOBS]
    return [*largest, len(areas), moving.mean()]


def _derivatives(flow: np.ndarray) -> list[float]:
    dy_u, dx_u = np.gradient(flow[..., 0])
    dy_v, dx_v = np.gradient(flow[..., 1])
    divergence, curl = np.abs(dx_u + dy_v), np.abs(dx_v - dy_u)
    return [divergence.mean(), np.percentile(divergence, 95), curl.mean(), np.percentile(curl, 95)]


def _differences(before: np.ndarray, after: np.ndarray) -> list[float]:
    difference = cv2.absdiff(before, after) / np.float32(255)
    return [difference.mean(), np.percentile(difference, 95), (difference > _DIFFERENT).mean()]
