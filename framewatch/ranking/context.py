"""Context: the seconds around a frame say more about it than the frame alone.

A regression on the series of a classifier's log-odds: the log-odds of the frame, and of the frames around it
the mean, the maximum, and the mean after it less the mean before it. Classifiers are linear, so the mean of
log-odds is the log-odds of the mean features; with the mean alone, the regression smooths the ranking. Its
weights are fitted on log-odds of classifiers that were not trained on the frame's group.

Does not import Spark.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.ranking.logistic import balanced, fit_regression

# Lengths of the windows around a frame, seconds.
WINDOWS_S = (4, 16)
COLUMNS = ("own", *(f"{name}_{window}" for window in WINDOWS_S for name in ("mean", "max", "rise")))
# Frames this far from a labelled one are in none of its windows.
REACH_S = max(WINDOWS_S) / 2
# Of a few numbers on standardized columns.
_PENALTY, _MAX_ITER = 0.03, 100


@dataclass(frozen=True)
class Context:
    """A regression on `context_columns`.

    Attributes:
        weights: the weight of each of COLUMNS.
        intercept: the log-odds where all columns are 0.
    """

    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(cls, columns: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> "Context":
        """Fits the regression, with both classes at equal weight.

        The mean log-odds in context equals that of single frames: a classifier with context and one without
        it assume the same share of suspicious frames.

        Args:
            columns: the result of `context_columns`, of log-odds by classifiers that did not see the frame.
            labels: (frames,), 0 or 1, both present among the frames with a weight above 0.
            weights: (frames,), 0 or more; a frame with weight 0 does not count.
        """
        found = fit_regression(
            columns,
            labels,
            balanced(labels, weights),
            max_iter=_MAX_ITER,
            reg_param=_PENALTY,
            elastic_net_param=0.0,
            standardization=True,
        )
        mean = float(weights @ (columns[:, 0] - columns @ found.coefficients) / weights.sum())
        return cls(tuple(found.coefficients.tolist()), mean)

    @classmethod
    def of_notes(cls, notes: Mapping[str, Any] | None) -> "Context | None":
        """Returns the regression of a classifier's notes under `context`; None if it uses none."""
        if notes is None or notes["weights"] is None:
            return None
        return cls(tuple(notes["weights"][name] for name in COLUMNS), notes["intercept"])

    def notes(self) -> dict[str, Any]:
        """Returns the numbers, for metrics.json."""
        return {"weights": dict(zip(COLUMNS, self.weights, strict=True)), "intercept": self.intercept}

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the numbers."""
        return hashlib.sha256(json.dumps(self.notes(), sort_keys=True).encode()).hexdigest()[:12]

    def log_odds(self, columns: np.ndarray) -> np.ndarray:
        """Returns the log-odds in context of the result of `context_columns`, (frames,) float64."""
        return columns @ np.array(self.weights) + self.intercept


def context_columns(log_odds: np.ndarray, videos: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Returns the log-odds of frames and of the frames around them, (frames, columns) float64, as COLUMNS.

    Args:
        log_odds: (frames,), in any order.
        videos: (frames,), the video of each frame.
        times_s: (frames,), seconds from the start of the video.

    A window includes both ends, and the frame itself. Where no frame is before or after it in the window, it
    stands for them.
    """
    found = np.empty((len(log_odds), len(COLUMNS)))
    times = milliseconds(times_s)
    order = np.lexsort((times, videos))
    begins = np.flatnonzero(np.append(True, videos[order][1:] != videos[order][:-1]))
    for rows in np.split(order, begins[1:]):
        found[rows] = _of_video(log_odds[rows], times[rows])
    return found


def milliseconds(times_s: np.ndarray) -> np.ndarray:
    """Returns times as windows compare them, (frames,) int64; Spark's windows need whole numbers."""
    return np.floor(np.asarray(times_s, float) * 1000 + 0.5).astype(np.int64)


def _of_video(own: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Does the same for one video, in order of time."""
    columns, sums = [own], np.append(0.0, np.cumsum(own))
    for window in WINDOWS_S:
        half = window * 1000 // 2
        first = np.searchsorted(times, times - half, "left")
        last = np.searchsorted(times, times + half, "right")
        before = np.searchsorted(times, times, "left")
        after = np.searchsorted(times, times, "right")
        peak = [own[a:b].max() for a, b in zip(first, last, strict=True)]
        rise = _mean(sums, after, last, own) - _mean(sums, first, before, own)
        columns += [_mean(sums, first, last, own), np.array(peak), rise]
    return np.column_stack(columns)


def _mean(sums: np.ndarray, first: np.ndarray, last: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Returns the mean from `first` to before `last`, given cumulative sums; another value where empty."""
    count = last - first
    return np.where(count > 0, (sums[last] - sums[first]) / np.maximum(count, 1), otherwise)
