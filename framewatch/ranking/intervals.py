"""Confidence intervals of metrics by the percentile bootstrap over groups. Does not import Spark.

Frames of one group resemble each other, so whole groups are drawn with replacement. A group that is drawn
twice counts twice, with all its frames and incidents.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float] | None

_RESAMPLES, _SEED = 1000, 2018
_PERCENTILES = (2.5, 97.5)
# Resamples are computed together up to this many numbers, which fit into a processor's cache.
_MOST_CELLS = 1 << 19


@dataclass(frozen=True)
class RankedGroups:
    """Labelled frames in order of rank, with their groups.

    Attributes:
        probabilities: (frames,) descending.
        labels: (frames,) 1 for suspicious.
        groups: (frames,) the group of each frame; any comparable values.
        firsts: (frames,) bool, the highest-ranked suspicious frame of each incident.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    firsts: np.ndarray

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))

    @property
    def num_suspicious_groups(self) -> int:
        """Number of groups with suspicious frames."""
        return len(np.unique(self.groups[self.labels > 0]))

    def intervals(self, *, precision_at: Sequence[int], viewed: Sequence[int]) -> "Intervals | None":
        """Returns 95% intervals; None if fewer than two groups have suspicious frames.

        Resamples for which a metric is undefined, such as those without a suspicious frame, do not count.

        Args:
            precision_at: the k of each precision@k.
            viewed: for each budget, the number of frames that can be viewed.
        """
        if self.num_suspicious_groups < 2:
            return None
        names, group = np.unique(self.groups, return_inverse=True)
        rows = []
        for counts in _resamples(len(names), _MOST_CELLS // len(group)):
            weights = np.ascontiguousarray(counts.T, np.int32)[group]
            rows.append(self._measure(weights, precision_at, viewed))
        found = [_interval(values) for values in np.concatenate(rows, axis=1)]
        ends = np.cumsum([2, len(precision_at), len(viewed), len(viewed)])
        (ap, auc), precisions, frame_recalls, frame_precisions, incident_recalls = (
            found[begin:end] for begin, end in zip([0, *ends], [*ends, len(found)], strict=True)
        )
        return Intervals(ap, auc, precisions, frame_recalls, frame_precisions, incident_recalls)

    def _measure(self, weights: np.ndarray, precision_at: Sequence[int], viewed: Sequence[int]) -> np.ndarray:
        """Returns (metrics, resamples) from how often frames occur, (frames, resamples); NaN: undefined."""
        before = _sums(weights)
        suspicious = _Marked.of(self.labels > 0, weights, before)
        incidents = _Marked.of(self.firsts, weights, before)
        total = before[-1]
        tops, views = np.array(precision_at, np.int64)[:, None], np.array(viewed, np.int64)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            recalled = suspicious.among_first(views)
            metrics = [
                *self._areas(suspicious, before),
                *np.where(total >= tops, suspicious.among_first(tops) / tops, np.nan),
                *(recalled / suspicious.total),
                *(recalled / np.minimum(views, total)),
                *(incidents.among_first(views) / incidents.total),
            ]
        return np.array(metrics)

    def _areas(self, suspicious: "_Marked", before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (resamples,) average precision and ROC AUC. Equal probabilities are one step."""
        scores = -self.probabilities
        own = scores[suspicious.rows]
        begins, ends = (np.searchsorted(scores, own, side) for side in ("left", "right"))
        true_begins, true_ends = (np.searchsorted(suspicious.rows, row) for row in (begins, ends))
        every, true = before[ends], suspicious.sums[true_ends]
        # Twice the mean number of other frames above, as ties count half.
        false = before[begins] - suspicious.sums[true_begins] + every - true
        negatives = before[-1] - suspicious.total
        precision = true / np.maximum(every, 1)
        ap = (suspicious.weights * precision).sum(axis=0) / suspicious.total
        area = (suspicious.weights * (negatives - false / 2)).sum(axis=0)
        return ap, area / (suspicious.total * negatives.astype(float))


@dataclass(frozen=True)
class _Marked:
    """Marked frames in order of rank, in resamples.

    Attributes:
        rows: (marked,) their rows.
        weights: (marked, resamples) how often each occurs.
        before: (marked, resamples) number of frames above each.
        sums: (marked + 1, resamples) number of marked frames above each, and of all.
    """

    rows: np.ndarray
    weights: np.ndarray
    before: np.ndarray
    sums: np.ndarray

    @classmethod
    def of(cls, marked: np.ndarray, weights: np.ndarray, before: np.ndarray) -> "_Marked":
        rows = np.flatnonzero(marked)
        return cls(rows, weights[rows], before[rows], _sums(weights[rows]))

    @property
    def total(self) -> np.ndarray:
        """(resamples,) number of marked frames."""
        return self.sums[-1]

    def among_first(self, tops: np.ndarray) -> np.ndarray:
        """Returns (tops, resamples) the number of marked frames among the first of each resample.

        Args:
            tops: (tops, 1) how many frames to look at.
        """
        columns = np.ascontiguousarray(self.before.T)
        begun = np.array([np.searchsorted(column, tops[:, 0]) for column in columns]).T
        last = (begun - 1).clip(min=0)
        # A frame that is drawn several times may be in part below the top.
        end = np.take_along_axis(self.before, last, axis=0) + np.take_along_axis(self.weights, last, axis=0)
        below = np.where(begun > 0, (end - tops).clip(min=0), 0)
        return np.take_along_axis(self.sums, begun, axis=0) - below


@dataclass(frozen=True)
class Intervals:
    """The 95% interval of each metric; None where it is undefined.

    Attributes:
        average_precision: of the average precision.
        roc_auc: of the ROC AUC.
        precision_at: for each k.
        frame_recall: for each budget.
        frame_precision: for each budget.
        incident_recall: for each budget.
    """

    average_precision: Interval
    roc_auc: Interval
    precision_at: Sequence[Interval]
    frame_recall: Sequence[Interval]
    frame_precision: Sequence[Interval]
    incident_recall: Sequence[Interval]


def share_intervals(parts: np.ndarray, wholes: np.ndarray, groups: np.ndarray) -> list[Interval]:
    """Returns the 95% interval of each share: the sum of `parts` over the sum of `wholes`.

    Args:
        parts: (shares, frames) what each frame adds to the numerator.
        wholes: (shares, frames) what each frame adds to the denominator.
        groups: (frames,) the group of each frame; any comparable values.

    Returns:
        The interval of each share; None where no resample has a denominator.
    """
    names, group = np.unique(groups, return_inverse=True)
    numerators, denominators = (
        np.array([np.bincount(group, row, len(names)) for row in rows]).reshape(len(rows), -1).T
        for rows in (parts, wholes)
    )
    found = []
    for counts in _resamples(len(names), _MOST_CELLS // len(names)):
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append((counts @ numerators) / (counts @ denominators))
    return [_interval(column) for column in np.concatenate(found).T]


def _resamples(num_groups: int, most: int) -> Iterator[np.ndarray]:
    """Yields (resamples, groups) how often each group is drawn, at most `most` resamples at a time."""
    random, size = np.random.default_rng(_SEED), max(1, most)
    for begin in range(0, _RESAMPLES, size):
        number = min(size, _RESAMPLES - begin)
        draws = random.integers(num_groups, size=(number, num_groups))
        draws += num_groups * np.arange(number)[:, None]
        yield np.bincount(draws.ravel(), minlength=number * num_groups).reshape(number, -1)


def _sums(weights: np.ndarray) -> np.ndarray:
    """Returns (rows + 1, resamples) the sum of the rows above each row, and of all."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]), np.int32)
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def _interval(values: np.ndarray) -> Interval:
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, _PERCENTILES)
    return float(low), float(high)
