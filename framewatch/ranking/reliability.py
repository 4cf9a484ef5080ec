"""Measures whether probabilities are calibrated: of frames at 0.8, 80% should be suspicious. No Spark."""

from typing import Any

import numpy as np

from framewatch.ranking.intervals import share_intervals

_BINS = 10


def bin_ends(ascending: np.ndarray, most: int) -> np.ndarray:
    """Divides sorted values into at most `most` bins of about equal count. Equal values share a bin.

    Returns:
        (bins,) the index after the last value of each bin; empty without values.
    """
    wanted = np.unique(np.linspace(0, len(ascending), most + 1).round().astype(int)[1:])
    last = wanted[wanted > 0] - 1
    return np.unique(np.searchsorted(ascending, ascending[last], side="right"))


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, intervals: bool
) -> dict[str, Any]:
    """Returns the reliability curve, the Brier score and the expected calibration error.

    Args:
        probabilities: (frames,) P(suspicious).
        labels: (frames,) 1 for suspicious, 0 for not.
        groups: (frames,) the group of each frame, which intervals resample.
        intervals: whether there are enough groups for intervals.

    Returns:
        `reliability`, up to ten bins of about equal count, with their mean `probability`, the `share` of
        suspicious frames, its 95% interval `share_interval`, and `frames`; `brier_score`, the mean squared
        difference of probability and label; `expected_calibration_error`, the mean difference of probability
        and share over the bins, weighted by frames. None for both numbers without frames.
    """
    if not len(labels):
        return {"reliability": [], "brier_score": None, "expected_calibration_error": None}
    order = np.argsort(probabilities, kind="stable")
    probabilities, labels, groups = probabilities[order], labels[order].astype(float), groups[order]
    ends = bin_ends(probabilities, _BINS)
    begins = np.append(0, ends[:-1])
    frames = ends - begins
    means = np.add.reduceat(probabilities, begins) / frames
    shares = np.add.reduceat(labels, begins) / frames
    inside = np.repeat(np.arange(len(ends)), frames) == np.arange(len(ends))[:, None]
    found = share_intervals(inside * labels, inside, groups) if intervals else [None] * len(ends)
    bins = [
        {"probability": float(mean), "share": float(share), "share_interval": interval, "frames": int(number)}
        for mean, share, interval, number in zip(means, shares, found, frames, strict=True)
    ]
    return {
        "reliability": bins,
        "brier_score": float(np.mean((probabilities - labels) ** 2)),
        "expected_calibration_error": float(frames @ np.abs(means - shares) / len(labels)),
    }
