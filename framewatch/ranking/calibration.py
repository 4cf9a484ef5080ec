"""Calibrates probabilities: a strictly increasing map of a classifier's log-odds, fitted out of fold.

A map never changes the order of frames. Platt scaling has two parameters, a slope and an intercept. Isotonic
regression has a step for each run of scores, and is interpolated between the centers of the steps, so that
frames within a step keep their order.

Methods: Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Zadrozny and Elkan, "Transforming
Classifier Scores into Accurate Multiclass Probability Estimates", 2002. Does not import Spark.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.ranking.logistic import fit_regression, sigmoid
from framewatch.ranking.reliability import bin_ends

# With fewer, isotonic regression follows chance, and a slope and an intercept are all that can be estimated.
_FEW_FRAMES, _FEW_GROUPS = 1000, 10
# Steps of isotonic regression begin as bins of equal count.
_MOST_BINS, _FRAMES_PER_BIN = 50, 20
# Steps whose shares differ by less are one step. A flatter map would round different scores to one number.
_LEAST_STEP = 1e-6
# The log-odds must rise by this over one standard deviation of the scores; else the scores carry nothing.
_LEAST_RISE = 1e-3
# Keeps the log-odds of probabilities that rounded to 0 or 1 finite.
_SMALLEST, _LARGEST = 1e-300, 1 - 2.0**-53


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing, piecewise linear map from log-odds to calibrated log-odds.

    Attributes:
        kind: `platt` or `isotonic`.
        slope: the slope before the first knot and after the last one, above 0.
        log_odds: the knots, ascending; Platt scaling has one, at 0.
        calibrated: the calibrated log-odds at the knots, ascending.
    """

    kind: str
    slope: float
    log_odds: tuple[float, ...]
    calibrated: tuple[float, ...]

    @classmethod
    def of_notes(cls, notes: Mapping[str, Any] | None) -> "Calibration | None":
        """Returns the map that a classifier's notes hold under `calibration`; None if nothing is calibrated.

        Classifiers of older versions have no such notes.
        """
        if notes is None or notes["kind"] == "none":
            return None
        if notes["kind"] == "platt":
            return cls("platt", notes["slope"], (0.0,), (notes["intercept"],))
        return cls(notes["kind"], notes["slope"], tuple(notes["log_odds"]), tuple(notes["calibrated"]))

    def notes(self) -> dict[str, Any]:
        """Returns kind and numbers, for metrics.json."""
        if self.kind == "platt":
            return {"kind": self.kind, "slope": self.slope, "intercept": self.calibrated[0]}
        knots = {"log_odds": list(self.log_odds), "calibrated": list(self.calibrated)}
        return {"kind": self.kind, "slope": self.slope, **knots}

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of kind and numbers."""
        return hashlib.sha256(json.dumps(self.notes(), sort_keys=True).encode()).hexdigest()[:12]

    def probabilities(self, prob2: np.ndarray) -> np.ndarray:
        """Returns calibrated P(suspicious) of a classifier's P(suspicious); (frames,) float64."""
        return sigmoid(self._map(log_odds_of(prob2)))

    def _map(self, log_odds: np.ndarray) -> np.ndarray:
        outside = np.minimum(log_odds - self.log_odds[0], 0) + np.maximum(log_odds - self.log_odds[-1], 0)
        return np.interp(log_odds, self.log_odds, self.calibrated) + self.slope * outside


def choose_kind(wanted: str, labels: np.ndarray, groups: np.ndarray) -> str:
    """Returns `platt` or `isotonic` for `auto`, by the number of labels; else what is wanted.

    Args:
        wanted: `auto`, `none`, `platt` or `isotonic`.
        labels: (frames,), 1 for suspicious.
        groups: (frames,), the group of each frame.
    """
    if wanted != "auto":
        return wanted
    is_few = len(labels) < _FEW_FRAMES or len(np.unique(groups[labels > 0])) < _FEW_GROUPS
    return "platt" if is_few else "isotonic"


def fit(prob2: np.ndarray, labels: np.ndarray, groups: np.ndarray, kind: str) -> Calibration | None:
    """Fits a map on out-of-fold probabilities.

    The frames of a group that is larger than the average group together weigh as much as an average group, so
    that one long recording does not decide alone.

    Args:
        prob2: (frames,), P(suspicious) by classifiers that were not trained on the frame's group.
        labels: (frames,), 1 for suspicious, 0 for not; both occur.
        groups: (frames,), the group of each frame.
        kind: `platt` or `isotonic`.

    Returns:
        The map; None if higher scores are not more suspicious. A map would then reverse the ranking.
    """
    scores, weights = log_odds_of(prob2), _weights(groups)
    slope, intercept = _fit_platt(scores, labels, weights)
    if slope * scores.std() < _LEAST_RISE:
        return None
    platt = Calibration("platt", slope, (0.0,), (intercept,))
    if kind == "platt":
        return platt
    centers, shares = _fit_isotonic(scores, labels, weights)
    if len(centers) < 2:
        return platt
    return Calibration("isotonic", slope, tuple(centers.tolist()), tuple(log_odds_of(shares).tolist()))


def nested(
    prob2: np.ndarray, labels: np.ndarray, groups: np.ndarray, folds: np.ndarray, kind: str
) -> np.ndarray:
    """Calibrates the frames of each fold by a map that was fitted on the other folds only.

    A fold keeps its probabilities if higher scores are not more suspicious in the other folds.

    Args:
        prob2: (frames,), out-of-fold P(suspicious).
        labels: (frames,), 1 for suspicious, 0 for not.
        groups: (frames,), the group of each frame.
        folds: (frames,), the fold that each frame is in.
        kind: `platt` or `isotonic`.

    Returns:
        (frames,) calibrated P(suspicious).
    """
    calibrated = np.array(prob2, float)
    for fold in np.unique(folds):
        held_out = folds == fold
        found = fit(prob2[~held_out], labels[~held_out], groups[~held_out], kind)
        if found is not None:
            calibrated[held_out] = found.probabilities(prob2[held_out])
    return calibrated


def log_odds_of(prob2: np.ndarray) -> np.ndarray:
    """Returns the log-odds of probabilities; finite for 0 and 1 too."""
    clipped = np.clip(prob2, _SMALLEST, _LARGEST)
    return np.log(clipped) - np.log1p(-clipped)


def _weights(groups: np.ndarray) -> np.ndarray:
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.minimum(1.0, sizes.mean() / sizes)[group]


def _fit_platt(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Returns slope and intercept. Platt's targets are inside 0 to 1, so they stay finite."""
    ones = weights @ labels
    zeros = weights.sum() - ones
    targets = np.where(labels > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    found = fit_regression(
        scores[:, None],
        targets,
        weights,
        max_iter=100,
        reg_param=0.0,
        elastic_net_param=0.0,
        standardization=True,
    )
    return float(found.coefficients[0]), found.intercept


def _fit_isotonic(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the center of each step, and the share of suspicious frames in it; both strictly ascending."""
    order = np.argsort(scores, kind="stable")
    scores, labels, weights = scores[order], labels[order], weights[order]
    most = min(_MOST_BINS, max(2, len(scores) // _FRAMES_PER_BIN))
    begins = np.append(0, bin_ends(scores, most)[:-1])
    totals = np.add.reduceat(weights, begins)
    # One more frame with the share of all frames keeps each step's share inside 0 to 1.
    share = weights @ labels / weights.sum()
    ones = np.add.reduceat(weights * labels, begins) + share
    return _pooled(np.add.reduceat(weights * scores, begins) / totals, ones / (totals + 1), totals + 1)


def _pooled(centers: np.ndarray, shares: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges neighbouring steps whose shares do not rise: the pool-adjacent-violators algorithm."""
    steps: list[np.ndarray] = []  # weight, and the weighted sums of center and share
    for center, share, weight in zip(centers, shares, weights, strict=True):
        steps.append(weight * np.array([1.0, center, share]))
        while len(steps) > 1 and steps[-2][2] / steps[-2][0] + _LEAST_STEP >= steps[-1][2] / steps[-1][0]:
            last = steps.pop()
            steps[-1] = steps[-1] + last
    sums = np.array(steps)
    return sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0]
