"""From similarities to scores of 0 to 100. No Spark in here.

Every prompt gives a frame log-odds; a score is 100 times their probability. A text's come from a softmax, as
CLIP was trained: over the texts of its class and those that it is set against. An example's tell how far the
frame's similarity lies above what its camera's frames usually have, in standard deviations. Labels of a class
bend its log-odds until the probability is one (Platt 1999).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framewatch.prompts.request import PromptClass, Request
from framewatch.prompts.similarity import Background

# An example's log-odds: 0 at so many deviations above the camera's mean, 1 more with each of the second.
_EVEN_DEVIATIONS, _DEVIATIONS_PER_UNIT = 1.5, 0.5

# Labels that contradict a class's prompts make it nearly flat, never upside down.
_FLATTEST = 0.01


@dataclass(frozen=True)
class Calibration:
    """A class's log-odds as labels have them: slope * log-odds + offset.

    Attributes:
        slope: above 0, so that what is more similar stays more probable.
        offset: is added.
        threshold: of the score, 0 to 100, that tells the labelled frames apart best.
        num_labels: frames that it was fitted to.
    """

    slope: float
    offset: float
    threshold: float
    num_labels: int


@dataclass(frozen=True)
class ClassColumns:
    """Where a class's prompts are among the columns of similarities.

    Attributes:
        wanted: the class.
        columns: of its prompts, in their order.
        negatives: of the texts that its text prompts are set against; none without text prompts.
    """

    wanted: PromptClass
    columns: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True)
class ScoringPlan:
    """What is computed of each frame for a request.

    Attributes:
        request: what is asked for.
        columns: (length, columns) float32, what features of length 1 are multiplied with.
        classes: where each class's prompts are among them.
        logit_scale: of a CLIP's cosines.
    """

    request: Request
    columns: np.ndarray
    classes: tuple[ClassColumns, ...]
    logit_scale: float = 100.0

    @property
    def needs_background(self) -> bool:
        """Whether a prompt is set against its camera's frames."""
        return any(prompt.kind != "text" for it in self.request.classes for prompt in it.prompts)

    def log_odds(
        self, similarities: np.ndarray, background: Background | None, its: ClassColumns
    ) -> np.ndarray:
        """Of one class's prompts, (frames, prompts).

        Args:
            similarities: (frames, columns) of one camera.
            background: of that camera; None where `needs_background` is false.
            its: the class.
        """
        with np.errstate(invalid="ignore"):  # NaN stands for a frame without features
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
            # Prompts that say the same share a softmax's probability; the best has all of its class's.
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
        """Of a class, (frames,), from those of its prompts, (frames, prompts).

        Its texts' best, which has all of their softmax; and the mean of its examples: each of them differs
        from the background in the class, and in much that has nothing to do with it.
        """
        is_text = np.array([prompt.kind == "text" for prompt in its.wanted.prompts])
        parts = [found[:, is_text].max(axis=1)] if is_text.any() else []
        parts += [found[:, ~is_text].mean(axis=1)] if not is_text.all() else []
        return np.max(parts, axis=0)


def scores(log_odds: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """0 to 100, of any shape; NaN stays."""
    if calibration is not None:
        log_odds = calibration.slope * log_odds + calibration.offset
    return 100 * probability(log_odds)


def probability(log_odds: np.ndarray) -> np.ndarray:
    """The logistic function."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0, -log_odds))


def calibrate(log_odds: Sequence[float], labels: Sequence[float]) -> Calibration | None:
    """Fits probabilities and a threshold to labelled frames of a class.

    Platt 1999, with his targets, which keep a few labels from being taken for certainty; and with a weak
    prior that the log-odds are right as they are.

    Args:
        log_odds: (frames,) of the class: its best prompt's.
        labels: (frames,) 1 for frames of the class, 0 for others.

    Returns:
        None where labels of one of both are missing.
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
    """The score with the highest F1; between two frames, the middle."""
    order = np.argsort(-its_scores, kind="stable")
    ranked, hits = its_scores[order], np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + labels.sum())
    # Frames of equal score are above the threshold together.
    last = np.append(ranked[1:] < ranked[:-1], True)
    best = int(np.argmax(np.where(last, f1, -1)))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return float((ranked[best] + below) / 2)
