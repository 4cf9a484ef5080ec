"""How much better some scores rank than others, against chance. Does not import Spark."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_RESAMPLES, _SEED = 200, 2018


def gains(scores: Sequence[np.ndarray], labels: np.ndarray, groups: np.ndarray) -> list[dict[str, Any]]:
    """Compares scores of the same frames by their ROC AUC, with a bootstrap over groups.

    Args:
        scores: (frames,) each, by classifiers that were not trained on the frame's group.
        labels: (frames,), 1 for suspicious, 0 for not; both occur.
        groups: (frames,), the group of each frame.

    Returns:
        For each of `scores`: `roc_auc`, `roc_auc_interval` (95%), `gain` over the first of them, and
        `gain_error`, the standard error of this gain.
    """
    areas = _resampled_areas(scores, labels, groups)
    differences = areas - areas[:, :1]
    whole = [_area(score, labels, np.ones(len(score))) for score in scores]
    return [
        {
            "roc_auc": whole[place],
            "roc_auc_interval": [float(end) for end in np.nanpercentile(areas[:, place], (2.5, 97.5))],
            "gain": whole[place] - whole[0],
            "gain_error": float(np.nanstd(differences[:, place])),
        }
        for place in range(len(scores))
    ]


def _resampled_areas(scores: Sequence[np.ndarray], labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns (resamples, scores) ROC AUC where groups are drawn with replacement; NaN with one class."""
    names, number = np.unique(groups, return_inverse=True)
    random, rows = np.random.default_rng(_SEED), []
    for _ in range(_RESAMPLES):
        counts = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))[number]
        rows.append([_area(score, labels, counts) for score in scores])
    return np.array(rows)


def _area(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> float:
    """Returns the ROC AUC of frames that occur `counts` times; ties count half."""
    values, step = np.unique(scores, return_inverse=True)
    ones = np.bincount(step, counts * labels, len(values))
    zeros = np.bincount(step, counts * (1 - labels), len(values))
    if not ones.sum() or not zeros.sum():
        return float("nan")
    below = np.cumsum(zeros) - zeros / 2
    return float(ones @ below / (ones.sum() * zeros.sum()))
