"""The active-learning loop: every few verdicts, refits the classifier and reranks the unseen footage.

A refit takes well under a second. The classifier is the one of training, a logistic regression with an L2
penalty, fitted on the original labels and on the verdicts, which have a higher weight. A verdict also affects
the seconds around it, because footage is continuous.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

# The query strategies: why a moment is shown.
REASONS = ("top", "uncertain", "random")
# With more labelled frames, a fit takes more than a second.
MOST_LABELLED = 2000
# No reviewer gets further down the queue before the next refit.
_MIXED_SLOTS = 1000
# Candidates scored in one batch; larger batches only use more memory.
_ROWS = 2048


@dataclass(frozen=True)
class LoopSettings:
    """How verdicts change the ranking.

    Attributes:
        refit_every: number of verdicts between refits.
        uncertain_share: share of the queue for the moments with the most uncertain prediction.
        random_share: share of the queue for moments drawn at random, which measure what the ranking misses.
        verdict_weight: sample weight of a verdict; an original label has weight 1.
        reg_param: strength of the penalty.
        smooth_s: standard deviation, in seconds, of the Gaussian that smooths scores over time.
        reach_s: standard deviation, in seconds, of the Gaussian that spreads a verdict to its neighbours.
        push: how much a verdict raises or lowers the log-odds of its own frame.
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
    """Frames to rank, sorted by video and time.

    Attributes:
        features: (n, length) float32.
        videos: (n,) integers that identify videos, ascending.
        timestamps_s: (n,) float64, ascending within a video.
    """

    features: np.ndarray
    videos: np.ndarray
    timestamps_s: np.ndarray


@dataclass(frozen=True)
class Slot:
    """A position in the queue: the index of a frame, and its query strategy."""

    index: int
    reason: str


class Loop:
    """Ranks footage again after each refit."""

    def __init__(
        self, footage: Footage, features: np.ndarray, labels: np.ndarray, settings: LoopSettings
    ) -> None:
        """Computes the standardization of features.

        Args:
            footage: the frames to rank.
            features: (m, length) float32, the frames with an original label; m may be 0, and should be at
                most `MOST_LABELLED`.
            labels: (m,) the original labels, 1 for suspicious.
            settings: how verdicts change the ranking.
        """
        self._footage, self._settings = footage, settings
        self._features, self._labels = features, labels.astype(np.int64)
        reference = features if len(features) else footage.features[:MOST_LABELLED]
        self._mean = reference.mean(axis=0)
        deviation = reference.std(axis=0)
        self._scale = 1 / np.where(deviation > 1e-6, deviation, 1)

    def refit(self, answers: np.ndarray) -> np.ndarray | None:
        """Returns the log-odds of being suspicious, given these verdicts.

        Args:
            answers: (n,) float, 1 for suspicious, 0 for not, NaN without a sure verdict.

        Returns:
            (n,) float64; None as long as labels and verdicts have only one class.
        """
        judged = np.flatnonzero(~np.isnan(answers))
        labels = np.append(self._labels, answers[judged].astype(np.int64))
        if len(np.unique(labels)) < 2:
            return None
        rows = np.concatenate([self._features, self._footage.features[judged]])
        weights = np.ones(len(labels))
        weights[len(self._labels) :] = self._settings.verdict_weight
        total = weights.sum()
        for label in (0, 1):  # balances the classes, because few frames are suspicious
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
        """Yields pairs of frames of one video within three deviations, and their Gaussian weights, 0 to 1."""
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
    """Fits a logistic regression with Spark's L2 objective: the weighted mean loss + reg_param / 2 |w|².

    Args:
        rows: (n, length) float32, standardized.
        labels: (n,) 0 or 1.
        weights: (n,), which sum to 1.
        reg_param: strength of the penalty; the intercept is not penalized.

    Returns:
        Coefficients (length,) float64, and the intercept.
    """
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients, intercept = parameters[:-1], parameters[-1]
        margins = signs * (rows @ coefficients.astype(np.float32) + intercept)
        # The derivative of log(1 + exp(-margin)) is -1 / (1 + exp(margin)).
        pulls = -weights * signs * np.exp(-np.logaddexp(0, margins))
        gradient = rows.T @ pulls.astype(np.float32) + reg_param * coefficients
        value = weights @ np.logaddexp(0, -margins) + reg_param / 2 * (coefficients @ coefficients)
        return float(value), np.append(gradient, pulls.sum())

    start = np.zeros(rows.shape[1] + 1)
    with threadpool_limits(1):  # for matrices this small, synchronizing threads costs more than it saves
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200, "gtol": 1e-4})
    return found.x[:-1], float(found.x[-1])


def mix(
    log_odds: np.ndarray, unseen: np.ndarray, audit: np.ndarray, num_seen: int, settings: LoopSettings
) -> list[Slot]:
    """Returns the order in which to show unseen moments, mixed from three query strategies.

    Each slot goes to the strategy that is furthest behind its share. The count starts at the first verdict,
    so that a refit does not reset it.

    Args:
        log_odds: (n,) log-odds of being suspicious.
        unseen: indices of moments that may be shown.
        audit: indices of moments that may be drawn at random, in the order of drawing.
        num_seen: number of slots that were shown before.
        settings: the shares.
    """
    by_score = unseen[np.argsort(-log_odds[unseen], kind="stable")]
    by_uncertainty = unseen[np.argsort(np.abs(log_odds[unseen]), kind="stable")]
    drawn = audit[np.isin(audit, unseen)]
    shares = {
        "top": 1 - settings.uncertain_share - settings.random_share,
        "uncertain": settings.uncertain_share,
        "random": settings.random_share,
    }
    sources = {"top": iter(by_score), "uncertain": iter(by_uncertainty), "random": iter(drawn)}
    given = dict.fromkeys(shares, 0)
    slots: list[Slot] = []
    taken: set[int] = set()
    for number in range(1, num_seen + min(_MIXED_SLOTS, len(unseen)) + 1):
        kind = max(shares, key=lambda strategy: shares[strategy] * number - given[strategy])
        given[kind] += 1
        if number <= num_seen:
            continue
        found = next((index for index in sources[kind] if index not in taken), None)
        if found is None:  # this strategy has no moments left
            kind, found = "top", next(index for index in sources["top"] if index not in taken)
        taken.add(found)
        slots.append(Slot(int(found), kind))
    slots += [Slot(int(index), "top") for index in by_score if index not in taken]
    return slots
