"""Resolves weak labels, of a video or of a point in time, to labels and weights of frames. NumPy, no Spark.

Both kinds have an extent, which is chosen by the loss on left-out groups of the training frames:

- By video, a share of frames. The score of a video is the mean log-odds of its highest frames, at least one.
  A regression and the choice of the highest frames alternate, as in MI-SVM (Andrews, Tsochantaridis and
  Hofmann, "Support Vector Machines for Multiple-Instance Learning", NIPS 2002). Several top frames, and not
  only the highest, represent a video of either label in Li and Vasconcelos, "Multiple Instance Learning for
  Soft Bags via Top Instances", CVPR 2015.
- By point, a width in seconds. The label holds for the frames around the point up to half of the width, and
  up to the middle between points: in time what labels of points are in pictures (Bearman et al., "What's the
  Point: Semantic Segmentation with Point Supervision", ECCV 2016).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from framewatch.ranking.logistic import Fit, Logistic, balanced, fit_regression

Format = Literal["video", "point"]

# What to choose from, and what is used if no group can be left out.
EXTENTS: Mapping[Format, Sequence[float]] = {
    "video": (1 / 16, 1 / 4, 1.0),
    "point": (1.0, 2.0, 4.0, 8.0, 16.0),
}
DEFAULTS: Mapping[Format, float] = {"video": 1 / 4, "point": 4.0}
WIDEST_S = max(EXTENTS["point"])

_MOST_ROUNDS = 20
# Seconds and losses that differ by less are equal.
_ROUNDING = 1e-6
# A line through scores needs no shrinkage, only an optimum that is finite where classes are separable.
_LINE_PENALTY, _LINE_MAX_ITER = 1e-3, 100

# (labels, groups) of frames -> the number of each frame's fold; None if no split can both train and test.
Split = Callable[[np.ndarray, np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class WeakFrames:
    """Frames with features that weak labels reach.

    Attributes:
        format: what was labelled: a `video` as a whole, or a `point` in time.
        labels: (frames,) 0 or 1: the label of the frame's video or of its nearest point; its own if known.
        weights: (frames,) above 0.
        videos: (frames,) the video of each frame; any comparable values.
        groups: (frames,) the group of each frame, which no split divides; any comparable values.
        known: (frames,) bool, whether the label is of this very frame: it has a verdict, or a point is on it.
        distances_s: (frames,) seconds from the nearest point, 0 for known frames; None by video.
    """

    format: Format
    labels: np.ndarray
    weights: np.ndarray
    videos: np.ndarray
    groups: np.ndarray
    known: np.ndarray
    distances_s: np.ndarray | None = None

    def rows(self, chosen: np.ndarray) -> "WeakFrames":
        """Returns some of the frames."""
        return WeakFrames(
            self.format,
            self.labels[chosen],
            self.weights[chosen],
            self.videos[chosen],
            self.groups[chosen],
            self.known[chosen],
            None if self.distances_s is None else self.distances_s[chosen],
        )

    @property
    def split_rows(self) -> np.ndarray:
        """(frames,) bool, the frames whose labels decide how groups are spread over folds."""
        return self.known if self.format == "point" else np.ones(len(self.labels), bool)


@dataclass(frozen=True)
class Resolved:
    """Labels of frames to train on.

    Attributes:
        labels: (frames,) 0 or 1.
        weights: (frames,) 0 for a frame that is not used.
        extent: the share of frames of a video, or the width around a point in seconds.
        losses: the loss of each extent on left-out groups; empty if none could be left out.
    """

    labels: np.ndarray
    weights: np.ndarray
    extent: float
    losses: dict[float, float]


def resolve(frames: WeakFrames, features: np.ndarray, *, fit: Fit, split: Split) -> Resolved:
    """Chooses an extent on left-out groups, and resolves the labels of all frames with this extent.

    Args:
        frames: the frames to train on, of both labels.
        features: (frames, features) float64.
        fit: fits a regression on frames.
        split: divides groups into folds.

    Returns:
        The labels and weights to train on. The extent is that of `DEFAULTS` if no group can be left out.
    """
    extent, losses = choose_extent(frames, features, fit=fit, split=split)
    if frames.format == "video":
        weights, _ = _top_frames(frames, features, extent, fit)
    else:
        weights = _near_weights(frames, extent)
    return Resolved(frames.labels, weights, extent, losses)


def choose_extent(
    frames: WeakFrames, features: np.ndarray, *, fit: Fit, split: Split
) -> tuple[float, dict[float, float]]:
    """Returns the extent with the lowest loss on left-out groups, and the loss of each.

    The loss is the log-loss of videos, each with one score, or of known frames, with both classes at equal
    weight, after the best rising line through all scores: it does not count that means of fewer frames are
    higher. Of equal losses, that of the default counts, then the first.
    """
    default, fold = DEFAULTS[frames.format], folds_of(frames, split)
    if fold is None:
        return default, {}
    losses = {}
    for extent in EXTENTS[frames.format]:
        scores, labels = [], []
        for number in np.unique(fold):
            held_out = fold == number
            regression = _regression(frames.rows(~held_out), features[~held_out], extent, fit)
            found = _scored(frames.rows(held_out), regression.log_odds(features[held_out]), extent)
            scores.append(found[0])
            labels.append(found[1])
        losses[extent] = _loss(np.concatenate(scores), np.concatenate(labels))
    if not np.isfinite(list(losses.values())).all():
        return default, {}
    lowest = min(losses.values())
    best = [extent for extent, loss in losses.items() if loss <= lowest + _ROUNDING]
    return default if default in best else best[0], losses


def folds_of(frames: WeakFrames, split: Split) -> np.ndarray | None:
    """Returns (frames,) the number of each frame's fold; None if no split can both train and test."""
    rows = frames.split_rows
    fold = split(frames.labels[rows], frames.groups[rows])
    if fold is None:
        return None
    fold_of = dict(zip(frames.groups[rows].tolist(), fold.tolist(), strict=True))
    # A group whose points are on frames without features has nothing to score: any fold will do.
    return np.array([fold_of.get(group, 0) for group in frames.groups.tolist()], np.int32)


def _regression(frames: WeakFrames, features: np.ndarray, extent: float, fit: Fit) -> Logistic:
    """Returns the regression whose loss decides about an extent; by video, one on means, which is cheap."""
    if frames.format == "video":
        return _top_frames(frames, features, extent, fit)[1]
    weights = _near_weights(frames, extent)
    used = weights > 0
    return fit(features[used], frames.labels[used], weights[used])


def _near_weights(frames: WeakFrames, width_s: float) -> np.ndarray:
    """Returns (frames,) weights to train on: 0 for frames farther from a point than half the width."""
    assert frames.distances_s is not None
    near = frames.known | (frames.distances_s <= width_s / 2 + _ROUNDING)
    return np.where(near, frames.weights, 0.0)


def _top_frames(
    frames: WeakFrames, features: np.ndarray, share: float, fit: Fit
) -> tuple[np.ndarray, Logistic]:
    """Alternates between the choice of the highest frames of each video and a regression on their means.

    Log-odds are linear: those of a mean are the mean log-odds. The choice starts with all frames, and stops
    when a choice comes again, or after 20 regressions.

    Returns:
        (frames,) weights to train on, above 0 for the frames chosen in suspicious videos and for all of the
        others; and the last regression.
    """
    bags = _bags(frames, share)
    chosen = ~frames.known
    seen: set[bytes] = set()
    while True:
        seen.add(chosen.tobytes())
        regression = _fitted_means(frames, features, chosen, bags, fit)
        log_odds = regression.log_odds(features)
        chosen = np.zeros(len(log_odds), bool)
        for rows, number in bags:
            chosen[rows] = _highest(log_odds[rows], number)
        if chosen.tobytes() in seen or len(seen) >= _MOST_ROUNDS:
            return _video_weights(frames, chosen | (frames.labels == 0)), regression


def _fitted_means(
    frames: WeakFrames,
    features: np.ndarray,
    chosen: np.ndarray,
    bags: Sequence[tuple[np.ndarray, int]],
    fit: Fit,
) -> Logistic:
    """Fits a regression on known frames, and on the mean of the chosen frames of each video."""
    tops = [top for rows, _ in bags if len(top := rows[chosen[rows]])]
    known = frames.known
    each = sum(map(len, tops)) / max(1, len(tops))
    return fit(
        np.vstack([features[known], *(features[top].mean(axis=0) for top in tops)]),
        np.concatenate([frames.labels[known], [frames.labels[top[0]] for top in tops]]),
        np.concatenate([frames.weights[known], np.full(len(tops), each)]),
    )


def _bags(frames: WeakFrames, share: float) -> list[tuple[np.ndarray, int]]:
    """Returns the rows of each video without known frames, and how many of them to choose.

    Known suspicious frames of a suspicious video count as chosen.
    """
    found = []
    for rows in _rows_of_each(frames.videos):
        own = rows[~frames.known[rows]]
        if len(own):
            known = int((frames.known[rows] & (frames.labels[rows] == 1)).sum())
            of_others = known if frames.labels[own[0]] == 1 else 0
            found.append((own, max(0, num_top(len(rows), share) - of_others)))
    return found


def _rows_of_each(videos: np.ndarray) -> list[np.ndarray]:
    if not len(videos):
        return []
    order = np.argsort(videos, kind="stable")
    ends = np.flatnonzero(videos[order][1:] != videos[order][:-1]) + 1
    return np.split(order, ends)


def num_top(num_frames: int, share: float) -> int:
    """Returns how many frames of a video are its share, rounded; at least one."""
    return max(1, int(share * num_frames + 0.5))


def _highest(values: np.ndarray, number: int) -> np.ndarray:
    """Returns (values,) bool, the highest ones; all that are equal to the last of them."""
    if number == 0:
        return np.zeros(len(values), bool)
    number = min(number, len(values))
    return values >= np.partition(values, len(values) - number)[len(values) - number]


def _video_weights(frames: WeakFrames, chosen: np.ndarray) -> np.ndarray:
    """Returns weights with the same total for each video; the average frame that is no known one has 1."""
    own = chosen & ~frames.known
    _, video = np.unique(frames.videos, return_inverse=True)
    counts = np.bincount(video, own)
    each = own.sum() / max(1, (counts > 0).sum())
    weights = np.where(own, each / np.maximum(counts, 1)[video], 0.0)
    return np.where(frames.known, frames.weights, weights)


def _scored(frames: WeakFrames, values: np.ndarray, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores that a loss counts, and their labels: of videos, or of known frames."""
    if frames.format == "point":
        return values[frames.known], frames.labels[frames.known]
    _, scores, labels = video_scores(frames, values, extent)
    return scores, labels


def video_scores(
    frames: WeakFrames, values: np.ndarray, share: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the labelled videos by their first row, (videos,) their scores, and (videos,) their labels.

    Args:
        frames: the frames, labelled by video. A video that has only known frames has no label.
        values: (frames,) a number of each frame.
        share: the share of frames whose mean is the score, for all or (frames,) for each.
    """
    shares = np.broadcast_to(share, len(values))
    firsts, scores, labels = [], [], []
    for rows in _rows_of_each(frames.videos):
        own = rows[~frames.known[rows]]
        if len(own):
            number = num_top(len(rows), float(shares[rows[0]]))
            firsts.append(own[0])
            scores.append(np.sort(values[rows])[-number:].mean())
            labels.append(frames.labels[own[0]])
    return np.array(firsts, int), np.array(scores, float), np.array(labels, float)


def _loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the log-loss after the best rising line, both classes at equal weight; NaN with one class."""
    if labels.sum() in (0, len(labels)):
        return float("nan")
    weights = balanced(labels, np.ones(len(labels)))
    line = fit_regression(
        scores[:, None],
        labels,
        weights,
        max_iter=_LINE_MAX_ITER,
        reg_param=_LINE_PENALTY,
        elastic_net_param=0.0,
        standardization=True,
    )
    if not line.coefficients[0] > 0:
        return float(np.log(2))
    log_odds = line.log_odds(scores[:, None])
    return float(weights @ (np.logaddexp(0.0, log_odds) - labels * log_odds) / weights.sum())


@dataclass(frozen=True)
class NearPoints:
    """What the points of one video give to its frames.

    Attributes:
        points: (frames,) the nearest point of each frame.
        distances_s: (frames,) seconds from it; infinite in the middle between points of both labels.
        known: (frames,) bool, whether the frame is the one that is shown at its point.
        own: (points,) the frame that is shown at each point; -1 outside the video.
    """

    points: np.ndarray
    distances_s: np.ndarray
    known: np.ndarray
    own: np.ndarray


def near_points(
    times_s: np.ndarray, seconds: np.ndarray, labels: np.ndarray, *, period_s: float
) -> NearPoints:
    """Finds the nearest point of each frame of a video.

    Args:
        times_s: (frames,) ascending; the frames of the video that are near to its points.
        seconds: (points,) in any order.
        labels: (points,) 0 or 1.
        period_s: seconds between frames.
    """
    own = _shown_at(times_s, seconds, period_s)
    inside = np.flatnonzero(own >= 0)
    if not len(inside):
        none = np.zeros(len(times_s))
        return NearPoints(none.astype(int), none + np.inf, none.astype(bool), own)
    order = inside[np.argsort(seconds[inside], kind="stable")]
    right = np.searchsorted(seconds[order], times_s).clip(max=len(order) - 1)
    left = (right - 1).clip(min=0)
    to_left, to_right = (np.abs(times_s - seconds[order][side]) for side in (left, right))
    points = order[np.where(to_left <= to_right, left, right)]
    distances_s = np.minimum(to_left, to_right)
    middle = np.abs(to_left - to_right) <= _ROUNDING
    distances_s[middle & (labels[order][left] != labels[order][right])] = np.inf
    known = np.zeros(len(times_s), bool)
    # In reverse, so that the first of several points on one frame counts.
    for point in inside[::-1]:
        points[own[point]], distances_s[own[point]], known[own[point]] = point, 0.0, True
    return NearPoints(points, distances_s, known, own)


def lead_s(period_s: float) -> float:
    """Returns how many seconds before a point the frame can be that is shown there."""
    return max(WIDEST_S / 2, 2 * period_s)


def _shown_at(times_s: np.ndarray, seconds: np.ndarray, period_s: float) -> np.ndarray:
    """Returns (points,) the last frame at or before each point; -1 for a point outside the video.

    A frame is shown until the next one, and the last frame for one and a half of the period.
    """
    if not len(times_s):
        return np.full(len(seconds), -1)
    shown = np.searchsorted(times_s, seconds + _ROUNDING, side="right") - 1
    since_s = seconds - times_s[np.maximum(shown, 0)]
    longest_s = np.where(shown == len(times_s) - 1, 1.5 * period_s, lead_s(period_s))
    return np.where(since_s > longest_s + _ROUNDING, -1, shown)


def extent_sentence(labels: Mapping[str, Any]) -> str:
    """Describes the extent of weak labels, from the labels' part of the notes; empty for other labels."""
    extent = labels.get("extent")
    if extent is None:
        return ""
    name: Callable[[float], str] = _share if labels["format"] == "video" else _width
    text = f"a label by point holds for {extent:g} s around it, half on each side"
    if labels["format"] == "video":
        text = f"the score of a video is the mean of {_top(extent)} of its frames"
    if not labels["extent_losses"]:
        return f"{text}, the default, as no group can be left out to choose it"
    losses = (f"{name(float(each))} {loss:.3f}" for each, loss in labels["extent_losses"].items())
    return f"{text}, chosen by the loss on left-out groups: {', '.join(losses)}"


def _top(share: float) -> str:
    return "all" if share == 1 else f"the highest {_share(share)}"


def _share(share: float) -> str:
    return f"1/{1 / share:g}" if share < 1 else "1"


def _width(width_s: float) -> str:
    return f"{width_s:g} s"
