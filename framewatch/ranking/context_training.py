"""Fits a classifier together with its context, and measures whether the context ranks better."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.ranking.context import Context, context_columns
from framewatch.ranking.cross_validation import by_fold, fold_of_each
from framewatch.ranking.gains import gains
from framewatch.ranking.logistic import Fit, Logistic, sigmoid


@dataclass(frozen=True)
class InContext:
    """A classifier, with the context that its log-odds are put into.

    Attributes:
        logistic: the classifier of single frames.
        context: its context; None without one.
        compared: ROC AUC on left-out groups without and with context, as `gains` returns them; empty if it
            could not be measured.
    """

    logistic: Logistic
    context: Context | None
    compared: list[dict[str, Any]]

    def notes(self) -> dict[str, Any]:
        """Returns what metrics.json holds under `context`; `weights` is None without a context."""
        found = self.context.notes() if self.context else {"weights": None}
        return {**found, "compared": self.compared}


@dataclass(frozen=True)
class ContextTraining:
    """Labelled frames with the frames around them.

    Attributes:
        fit: fits a classifier of single frames.
        groups: (frames,), the group of each frame.
        videos: (frames,), the video of each frame.
        times_s: (frames,), seconds from the start of the video.
        folds: maximum number of folds, which never split a group.
        choose: whether to use the context only if its gain on left-out groups exceeds its standard error.
    """

    fit: Fit
    groups: np.ndarray
    videos: np.ndarray
    times_s: np.ndarray
    folds: int
    choose: bool

    def train(self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> InContext:
        """Fits the classifier and its context.

        Args:
            features: (frames, features) float64.
            labels: (frames,), 0 or 1.
            weights: (frames,), 0 or more. Frames with weight 0 count for the context of others only.
        """
        return self.around(self.fit(features, labels, weights), features, labels, weights)

    def around(
        self, logistic: Logistic, features: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> InContext:
        """Does the same for the classifier of these frames, which is already fitted."""
        used, folds = weights > 0, self._folds(labels, weights, self.folds)
        if folds is None or any(
            self._folds(labels, np.where(folds == number, 0.0, weights), self.folds) is None
            for number in range(folds.max() + 1)
        ):  # where left-out groups cannot have context, metrics would be those of another classifier
            return InContext(logistic, None, [])

        def log_odds(held_out: np.ndarray) -> np.ndarray:
            others = np.where(held_out, 0.0, weights)
            return self.fit(features, labels, others).log_odds(features[held_out])

        own = by_fold(folds, log_odds)
        columns = context_columns(own, self.videos, self.times_s)

        def in_context(held_out: np.ndarray) -> np.ndarray:
            others = np.where(held_out, 0.0, weights)
            return Context.fit(columns, labels, others).log_odds(columns[held_out])

        nested = by_fold(folds, in_context)
        compared = gains([own[used], nested[used]], labels[used], self.groups[used])
        is_better = compared[1]["gain"] > compared[1]["gain_error"]
        context = Context.fit(columns, labels, weights) if is_better or not self.choose else None
        return InContext(logistic, context, compared)

    def _folds(self, labels: np.ndarray, weights: np.ndarray, folds: int) -> np.ndarray | None:
        """Returns (frames,) the fold of each frame; -1 in groups without weight. None as `fold_of_each`."""
        used = weights > 0
        fold = fold_of_each(labels[used], self.groups[used].tolist(), folds=folds)
        if fold is None:
            return None
        fold_of = dict(zip(self.groups[used].tolist(), fold.tolist(), strict=True))
        return np.array([fold_of.get(group, -1) for group in self.groups.tolist()])

    def out_of_fold(
        self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, folds: int
    ) -> np.ndarray | None:
        """Returns (frames,) P(suspicious), by classifiers that were trained without the frame's group.

        None if no split can both train and test.
        """
        fold = self._folds(labels, weights, folds)
        if fold is None:
            return None
        return by_fold(fold, lambda held_out: self.left_out(held_out, features, labels, weights))

    def left_out(
        self, held_out: np.ndarray, features: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Returns P(suspicious) of left-out frames, by a classifier that was trained on the others."""
        found = self.train(features, labels, np.where(held_out, 0.0, weights))
        log_odds = found.logistic.log_odds(features[held_out])
        if found.context is not None:
            columns = context_columns(log_odds, self.videos[held_out], self.times_s[held_out])
            log_odds = found.context.log_odds(columns)
        return sigmoid(log_odds)
