"""Converts similarities to scores from 0 to 100. Does not import Spark.

Each prompt assigns log-odds to a frame; the score is 100 times the probability. The log-odds of a text come
from a softmax, as in CLIP's training, over the texts of the class and the negatives. The log-odds of an
example measure how far the frame's similarity is above the mean of its camera, in standard deviations. If a
class has labels, its log-odds are calibrated so that scores are probabilities (Platt 1999).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framewatch.prompts.request import PromptClass, Request
from framewatch.prompts.similarity import Background

# Log-odds of an example are 0 at the first number of standard deviations above the camera's mean, and rise
# by 1 with each further second number of standard deviations.
_EVEN_DEVIATIONS, _DEVIATIONS_PER_UNIT = 1.5, 0.5

# The minimum slope: labels that contradict a class's prompts flatten its scores but never invert them.
_FLATTEST = 0.01


@dataclass(frozen=True)
class Calibration:
    """The calibration of a class's log-odds: slope * log-odds + offset.

    Attributes:
        slope: factor of the log-odds, above 0, so that more similar frames stay more probable.
        offset: constant added to the log-odds.
        threshold: score, 0 to 100, that separates the labelled frames best (F1).
        num_labels: number of labelled frames.
    """

    slope: float
    offset: float
    threshold: float
    num_labels: int


@dataclass(frozen=True)
class ClassColumns:
    """The columns of a class's prompts in the matrix of similarities.

    Attributes:
        wanted: the class.
        columns: indices of the columns of its prompts, in the order of the prompts.
        negatives: indices of the columns of its negatives; empty without text prompts.
    """

    wanted: PromptClass
    columns: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True)
class ScoringPlan:
    """A prepared request.

    Attributes:
        request: the request.
        columns: (length, columns) float32, the matrix that unit-length features are multiplied with.
        classes: the columns of each class.
        logit_scale: factor from cosines to CLIP's logits.
    """

    request: Request
    columns: np.ndarray
    classes: tuple[ClassColumns, ...]
    logit_scale: float = 100.0

    @property
    def needs_background(self) -> bool:
        """Whether any prompt is compared with the background of its camera."""
        return any(
            prompt.kind != "text" for prompt_class in self.request.classes for prompt in prompt_class.prompts
        )

    def log_odds(
        self, similarities: np.ndarray, background: Background | None, its: ClassColumns
    ) -> np.ndarray:
        """Returns the log-odds of each frame for each prompt of a class, (frames, prompts).

        Args:
            similarities: (frames, columns) similarities of one camera's frames.
            background: that camera's background; None if `needs_background` is false.
            its: the class.
        """
        with np.errstate(invalid="ignore"):  # NaN marks a frame without features
            return self._log_odds(similarities, background, its)

    def _log_odds(
        self, similarities: np.ndarray, background: Background | None, its: ClassColumns
    ) -> np.ndarray:
        found = np.empty((len(similarities), len(its.columns)))
        is_text = np.array([prompt.kind == "text" for prompt in its.wanted.prompts])
        columns = np.array(its.columns)
        if is_text.any():
            logits = self.logit_scale * similarities[:, columns[is_text]].astype(float)
            others = self.logit_scale * similarities[:, list(its.negatives)].astype(float)
            of_class = np.logaddexp.reduce(logits, axis=1) - np.logaddexp.reduce(others, axis=1)
            # Similar prompts would share the softmax's probability, so the best one gets that of its class.
            behind = logits.max(axis=1, keepdims=True) - logits
            found[:, is_text] = of_class[:, None] - behind
        if not is_text.all():
            assert background is not None
            chosen = columns[~is_text]
            above = (similarities[:, chosen] - background.mean[chosen]) / background.deviation[chosen]
            found[:, ~is_text] = (above - _EVEN_DEVIATIONS) / _DEVIATIONS_PER_UNIT
        return found

    @staticmethod
    def class_log_odds(found: np.ndarray, its: ClassColumns) -> np.ndarray:
        """Returns the log-odds of each frame for a class, (frames,).

        This is the maximum of the best text, which has the softmax of all texts, and of the mean of the
        examples. The mean is used because each example differs from the background in the class, but also in
        much that is unrelated to it.

        Args:
            found: (frames, prompts) log-odds, from `log_odds`.
            its: the class.
        """
        is_text = np.array([prompt.kind == "text" for prompt in its.wanted.prompts])
        parts = [found[:, is_text].max(axis=1)] if is_text.any() else []
        parts += [found[:, ~is_text].mean(axis=1)] if not is_text.all() else []
        return np.max(parts, axis=0)


def scores(log_odds: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Converts log-odds of any shape to scores, 0 to 100; NaN stays NaN.

    Args:
        log_odds: log-odds of any shape.
        calibration: the calibration of the class; None for none.
    """
    if calibration is not None:
        log_odds = calibration.slope * log_odds + calibration.offset
    return 100 * probability(log_odds)


def probability(log_odds: np.ndarray) -> np.ndarray:
    """Converts log-odds to probabilities with the logistic function."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0, -log_odds))


def calibrate(log_odds: Sequence[float], labels: Sequence[float]) -> Calibration | None:
    """Fits probabilities and a threshold to labelled frames of a class.

    The method is that of Platt 1999, with smoothed targets, so that a few labels do not lead to probabilities
    of 0 or 1; and with a weak prior on the uncalibrated log-odds.

    Args:
        log_odds: (frames,) log-odds of the class, from `ScoringPlan.class_log_odds`: the maximum of its best
            text and of the mean of its examples. Frames with NaN are ignored.
        labels: (frames,) 1 for frames of the class, 0 for others.

    Returns:
        The calibration; None if either label is missing.
    """
    x, y = np.asarray(log_odds, float), np.asarray(labels, float)
    x, y = x[~np.isnan(x)], y[~np.isnan(x)]
    ones = int(y.sum())
    if ones == 0 or ones == len(y):
        return None
    target = np.where(y == 1, (ones + 1) / (ones + 2), 1 / (len(y) - ones + 2))

    design = np.stack([x, np.ones_like(x)], axis=1)
    fitted, prior = np.array([1.0, 0.0]), np.array([1.0, 0.02])
    for _ in range(100):  # Newton's method, on a convex function
        p = probability(design @ fitted)
        gradient = design.T @ (p - target) + prior * (fitted - (1.0, 0.0))
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + np.diag(prior), gradient)
        fitted = fitted - step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-9:
            break
    slope, offset = max(float(fitted[0]), _FLATTEST), float(fitted[1])
    return Calibration(slope, offset, _best_threshold(100 * probability(slope * x + offset), y), len(y))


def _best_threshold(its_scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the threshold with the highest F1: the middle between the scores of two frames."""
    order = np.argsort(-its_scores, kind="stable")
    ranked, hits = its_scores[order], np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + labels.sum())
    # Frames of equal score are on the same side of the threshold.
    last = np.append(ranked[1:] < ranked[:-1], True)
    best = int(np.argmax(np.where(last, f1, -1)))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return float((ranked[best] + below) / 2)
