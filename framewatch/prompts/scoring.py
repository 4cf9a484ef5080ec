"""Converts similarities to scores from 0 to 100. Does not import Spark.

Each class assigns log-odds to a frame; the score is 100 times the probability. Clips, thresholds,
calibrations and everything that is shown are of this one score. The log-odds of texts come from a softmax, as
in CLIP's training, of the mean over the texts of the class against the mean over the negatives. The log-odds
of examples measure how far the frame's similarity to the mean of the examples' vectors is above the mean of
its camera, in standard deviations. If a class has labels, its log-odds are calibrated so that scores are
probabilities (Platt 1999).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framewatch.prompts.frame_runs import Background, Project
from framewatch.prompts.request import PromptClass, Request
from framewatch.ranking.logistic import sigmoid

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
        together: index of the column of the mean of its examples; None without examples.
    """

    wanted: PromptClass
    columns: tuple[int, ...]
    negatives: tuple[int, ...]
    together: int | None = None

    @property
    def is_text(self) -> tuple[bool, ...]:
        """Whether each prompt is a text."""
        return tuple(prompt.kind == "text" for prompt in self.wanted.prompts)


@dataclass(frozen=True)
class ScoringPlan:
    """A prepared request.

    Attributes:
        request: the request.
        project: computes the similarities to the columns of prompts and classes.
        classes: the columns of each class.
        logit_scale: factor from cosines to CLIP's logits.
    """

    request: Request
    project: Project
    classes: tuple[ClassColumns, ...]
    logit_scale: float = 100.0

    @property
    def needs_background(self) -> bool:
        """Whether any prompt is compared with the background of its camera."""
        return any(columns.together is not None for columns in self.classes)

    def log_odds(
        self, similarities: np.ndarray, background: Background | None, its: ClassColumns
    ) -> np.ndarray:
        """Returns the log-odds of each frame for a class, (frames,); NaN for a frame without features.

        This is the higher one of two log-odds: of all texts together, and of all examples together. Neither
        grows with the number of prompts.

        Args:
            similarities: (frames, columns) similarities of one camera's frames.
            background: that camera's background; None if `needs_background` is false.
            its: the class.
        """
        parts = []
        texts = [column for column, is_text in zip(its.columns, its.is_text, strict=True) if is_text]
        with np.errstate(invalid="ignore"):  # NaN marks a frame without features
            if texts:
                parts.append(
                    _log_mean(self.logit_scale * similarities[:, texts].astype(float))
                    - _log_mean(self.logit_scale * similarities[:, list(its.negatives)].astype(float))
                )
            if its.together is not None:
                parts.append(_unusual(similarities[:, [its.together]], background, [its.together])[:, 0])
            return np.max(parts, axis=0)

    def prompt_log_odds(
        self, similarities: np.ndarray, background: Background | None, its: ClassColumns
    ) -> np.ndarray:
        """Returns what each prompt alone contributes, (frames, prompts): which prompt matches best.

        Args:
            similarities: (frames, columns) similarities of one camera's frames.
            background: that camera's background; None if `needs_background` is false.
            its: the class.
        """
        found = np.empty((len(similarities), len(its.columns)))
        is_text, columns = np.array(its.is_text), np.array(its.columns)
        with np.errstate(invalid="ignore"):
            if is_text.any():
                others = self.logit_scale * similarities[:, list(its.negatives)].astype(float)
                logits = self.logit_scale * similarities[:, columns[is_text]].astype(float)
                found[:, is_text] = logits - _log_mean(others)[:, None]
            if not is_text.all():
                chosen = columns[~is_text]
                found[:, ~is_text] = _unusual(similarities[:, chosen], background, chosen.tolist())
        return found


def _log_mean(logits: np.ndarray) -> np.ndarray:
    """Returns the logarithm of the mean of exponentials, (frames,)."""
    return np.logaddexp.reduce(logits, axis=1) - np.log(logits.shape[1])


def _unusual(similarities: np.ndarray, background: Background | None, columns: list[int]) -> np.ndarray:
    """Returns how far similarities are above their camera's mean, as log-odds."""
    assert background is not None
    above = (similarities - background.mean[columns]) / background.deviation[columns]
    return (above - _EVEN_DEVIATIONS) / _DEVIATIONS_PER_UNIT


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
        return sigmoid(log_odds)


def calibrate(log_odds: Sequence[float], labels: Sequence[float]) -> Calibration | None:
    """Fits probabilities and a threshold to labelled frames of a class.

    The method is that of Platt 1999, with smoothed targets, so that a few labels do not lead to probabilities
    of 0 or 1; and with a weak prior on the uncalibrated log-odds.

    Args:
        log_odds: (frames,) log-odds of the class, from `ScoringPlan.log_odds`. Frames with NaN are ignored.
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
