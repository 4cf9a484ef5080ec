"""The loop: each few verdicts refit the ranking of what is unseen, in well under a second.

The classifier is that of training, a logistic regression with an L2 penalty, on the original labels and the
verdicts, these weighted more. What a verdict says holds for the seconds around it too: footage is continuous.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

# Why a moment is shown.
REASONS = ("top", "uncertain", "random")
# With more labelled frames a fit would take more than a second.
MOST_LABELLED = 2000
# Further down nobody looks before the next refit.
_MIXED_SLOTS = 1000
# Candidates scored at once: more would only cost memory.
_ROWS = 2048


@dataclass(frozen=True)
class LoopSettings:
    """How verdicts change the ranking.

    Attributes:
        refit_every: verdicts from one refit to the next.
        uncertain_share: of the queue, moments about which the classifier is most uncertain.
        random_share: of the queue, moments drawn at random: they tell what the ranking misses.
        verdict_weight: weight of a verdict, where an original label has 1.
        reg_param: strength of the penalty.
        smooth_s: scores are averaged over the seconds around, with a Gaussian of this deviation.
        reach_s: deviation of the Gaussian by which a verdict reaches its neighbours.
        push: by how much a verdict raises or lowers the log-odds right beside it.
    """

    refit_every: int = 4
    uncertain_share: float = 0.1
    random_share: float = 0.1
    verdict_weight: float = 4.0
    reg_param: float = 0.05
    smooth_s: float = 1.0
    reach_s: float = 2.0
    push: float = 1.0


@dataclass(frozen=True)
class Footage:
    """Frames to rank, in order of video and time; arrays of equal length.

    Attributes:
        features: (n, length) float32.
        videos: (n,) integers that tell videos apart, rising.
        timestamps_s: (n,) float64, rising within a video.
    """

    features: np.ndarray
    videos: np.ndarray
    timestamps_s: np.ndarray


@dataclass(frozen=True)
class Slot:
    """A place in the queue: which frame, and why it is there."""

    index: int
    reason: str


class Loop:
    """Ranks footage, and again with each refit."""

    def __init__(
        self, footage: Footage, features: np.ndarray, labels: np.ndarray, settings: LoopSettings
    ) -> None:
        """Prepares for refits.

        Args:
            footage: what to rank.
            features: (m, length) float32 of frames with an original label; m may be 0, and should be at
                most `MOST_LABELLED`.
            labels: (m,) their labels, 1 for suspicious.
            settings: how verdicts change the ranking.
        """
        self._footage, self._settings = footage, settings
        self._features, self._labels = features, labels.astype(np.int64)
        known = features if len(features) else footage.features[:MOST_LABELLED]
        self._mean = known.mean(axis=0)
        deviation = known.std(axis=0)
        self._scale = 1 / np.where(deviation > 1e-6, deviation, 1)

    def refit(self, answers: np.ndarray) -> np.ndarray | None:
        """The log-odds of being suspicious, after these verdicts.

        Args:
            answers: (n,) float, 1 for suspicious, 0 for not, NaN where there is no sure verdict.

        Returns:
            (n,) float64; None while labels and verdicts are all of one class.
        """
        judged = np.flatnonzero(~np.isnan(answers))
        labels = np.append(self._labels, answers[judged].astype(np.int64))
        if len(np.unique(labels)) < 2:
            return None
        rows = np.concatenate([self._features, self._footage.features[judged]])
        weights = np.ones(len(labels))
        weights[len(self._labels) :] = self._settings.verdict_weight
        total = weights.sum()
        for label in (0, 1):  # both classes count alike: few frames are suspicious
            weights[labels == label] *= total / 2 / weights[labels == label].sum()
        rows -= self._mean
        rows *= self._scale
        coefficients, intercept = fit_logistic(rows, labels, weights / total, self._settings.reg_param)
        scores = self._scored(coefficients, intercept)
        return self._smooth(scores) + self._settings.push * self._pushed(answers)

    def _scored(self, coefficients: np.ndarray, intercept: float) -> np.ndarray:
        features = self._footage.features
        direction = (coefficients * self._scale).astype(np.float32)
        shift = intercept - float(self._mean @ direction)
        parts = [features[begin : begin + _ROWS] @ direction for begin in range(0, len(features), _ROWS)]
        return np.concatenate(parts).astype(np.float64) + shift if parts else np.zeros(0)

    def _smooth(self, scores: np.ndarray) -> np.ndarray:
        if self._settings.smooth_s <= 0:
            return scores
        total, weight = scores.copy(), np.ones(len(scores))
        for one, other, near in self._neighbours(self._settings.smooth_s):
            total[one] += near * scores[other]
            weight[one] += near
            total[other] += near * scores[one]
            weight[other] += near
        return total / weight

    def _pushed(self, answers: np.ndarray) -> np.ndarray:
        signs = np.nan_to_num(2 * answers - 1, nan=0.0)
        total = signs.copy()
        for one, other, near in self._neighbours(self._settings.reach_s):
            total[one] += near * signs[other]
            total[other] += near * signs[one]
        return total

    def _neighbours(self, deviation_s: float) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Pairs of frames of one video within three deviations, and how near they are, 0 to 1."""
        videos, times = self._footage.videos, self._footage.timestamps_s
        for step in range(1, len(times)):
            one, other = slice(0, len(times) - step), slice(step, len(times))
            apart = (times[other] - times[one]) / deviation_s
            near = np.where((videos[one] == videos[other]) & (apart <= 3), np.exp(-0.5 * apart**2), 0.0)
            if not near.any():
                return
            yield one, other, near


def fit_logistic(
    rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, reg_param: float
) -> tuple[np.ndarray, float]:
    """Logistic regression with an L2 penalty, as Spark's: the weighted mean loss + reg_param / 2 |w|².

    Args:
        rows: (n, length) float32, of like scale.
        labels: (n,) 0 or 1.
        weights: (n,), of sum 1.
        reg_param: strength of the penalty; the intercept has none.

    Returns:
        Coefficients (length,) float64, and the intercept.
    """
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients, intercept = parameters[:-1], parameters[-1]
        margins = signs * (rows @ coefficients.astype(np.float32) + intercept)
        # Of the derivative of log(1 + exp(-margin)): -1 / (1 + exp(margin)).
        pulls = -weights * signs * np.exp(-np.logaddexp(0, margins))
        gradient = rows.T @ pulls.astype(np.float32) + reg_param * coefficients
        value = weights @ np.logaddexp(0, -margins) + reg_param / 2 * (coefficients @ coefficients)
        return float(value), np.append(gradient, pulls.sum())

    start = np.zeros(rows.shape[1] + 1)
    with threadpool_limits(1):  # of products this small, threads wait for each other longer than they work
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200, "gtol": 1e-4})
    return found.x[:-1], float(found.x[-1])


def mix(
    log_odds: np.ndarray, unseen: np.ndarray, audit: np.ndarray, num_seen: int, settings: LoopSettings
) -> list[Slot]:
    """The order in which to show what is unseen.

    Each slot goes to the kind that is furthest behind its share, counting from the first verdict on, so that
    a refit does not begin the count anew.

    Args:
        log_odds: (n,) of being suspicious.
        unseen: indices of what may be shown.
        audit: indices of what may be drawn at random, in the order of drawing.
        num_seen: slots that have been shown before.
        settings: the shares.
    """
    by_score = unseen[np.argsort(-log_odds[unseen], kind="stable")]
    by_doubt = unseen[np.argsort(np.abs(log_odds[unseen]), kind="stable")]
    drawn = audit[np.isin(audit, unseen)]
    shares = {
        "top": 1 - settings.uncertain_share - settings.random_share,
        "uncertain": settings.uncertain_share,
        "random": settings.random_share,
    }
    sources = {"top": iter(by_score), "uncertain": iter(by_doubt), "random": iter(drawn)}
    given = dict.fromkeys(shares, 0)
    slots: list[Slot] = []
    taken: set[int] = set()
    for number in range(1, num_seen + min(_MIXED_SLOTS, len(unseen)) + 1):
        kind = max(shares, key=lambda its: shares[its] * number - given[its])
        given[kind] += 1
        if number <= num_seen:
            continue
        found = next((index for index in sources[kind] if index not in taken), None)
        if found is None:  # nothing of its kind is left
            kind, found = "top", next(index for index in sources["top"] if index not in taken)
        taken.add(found)
        slots.append(Slot(int(found), kind))
    slots += [Slot(int(index), "top") for index in by_score if index not in taken]
    return slots
