"""Weak labels: which frames are chosen, that seconds are ranked, and that no group decides about itself."""

import numpy as np
import pytest

from framewatch.ranking.classifier import fit_in_memory
from framewatch.ranking.cross_validation import fold_of_each
from framewatch.ranking.evaluation import RankedLabels
from framewatch.ranking.weak_labels import (
    DEFAULTS,
    EXTENTS,
    WeakFrames,
    extent_sentence,
    near_points,
    num_top,
    resolve,
    video_scores,
)

SECONDS = 60


def split(labels: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    return fold_of_each(labels, groups.tolist(), folds=3)


def footage(
    seed: int, *, videos: int = 60, strength: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features, the number of the video, and the true label of each second.

    In every second video, one second in 20 is suspicious. Each video has a scene of its own, and four share a
    place.
    """
    random = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), SECONDS)
    truth = np.zeros(len(video))
    for number in range(0, videos, 2):
        truth[number * SECONDS + random.choice(SECONDS, SECONDS // 20, replace=False)] = 1
    places = random.normal(size=(videos // 4, 20))[video // 4]
    scenes = random.normal(size=(videos, 20))[video]
    features = 0.5 * places + 0.5 * scenes + random.normal(size=scenes.shape)
    features[:, :3] += strength * truth[:, None]
    return features, video, truth


def by_video(video: np.ndarray, **changes: np.ndarray) -> WeakFrames:
    none = np.zeros(len(video), bool)
    arrays = {"labels": 1.0 - video % 2, "weights": np.ones(len(video)), "known": none, **changes}
    return WeakFrames("video", videos=video, groups=video // 4, **arrays)


def area(scores: np.ndarray, truth: np.ndarray) -> float:
    found = RankedLabels.count(scores.tolist(), truth.tolist()).roc_auc
    assert found is not None
    return found


def test_labels_of_videos_rank_seconds() -> None:
    features, video, truth = footage(0)
    test, _, test_truth = footage(1)
    frames = by_video(video)
    found = resolve(frames, features, fit=fit_in_memory, split=split)
    used = found.weights > 0
    assert found.extent == 1 / 16 == min(found.losses, key=found.losses.__getitem__)
    assert set(found.losses) == set(EXTENTS["video"])
    fits = {
        "full": fit_in_memory(features, truth, np.ones(len(truth))),
        "naive": fit_in_memory(features, frames.labels, np.ones(len(truth))),
        "weak": fit_in_memory(features[used], frames.labels[used], found.weights[used]),
    }
    areas = {name: area(fitted.probabilities(test), test_truth) for name, fitted in fits.items()}
    assert areas["weak"] > areas["full"] - 0.03
    assert areas["weak"] > areas["naive"] + 0.05
    # Of each suspicious video, the share of its frames; of the others, all; every video weighs the same.
    assert (np.bincount(video[used])[::2] == num_top(SECONDS, 1 / 16)).all()
    assert (np.bincount(video[used])[1::2] == SECONDS).all()
    assert np.bincount(video, found.weights) == pytest.approx(found.weights.sum() / 60)
    assert truth[used & (frames.labels == 1)].mean() > 0.6


def test_noise_ranks_nothing() -> None:
    features, video, _ = footage(2, strength=0.0)
    test, _, truth = footage(3, strength=0.0)
    found = resolve(by_video(video), features, fit=fit_in_memory, split=split)
    used = found.weights > 0
    fitted = fit_in_memory(features[used], by_video(video).labels[used], found.weights[used])
    assert area(fitted.probabilities(test), truth) == pytest.approx(0.5, abs=0.08)
    assert min(found.losses.values()) > np.log(2) - 0.1


def test_the_same_labels_give_the_same_frames_in_any_order_of_videos() -> None:
    features, video, _ = footage(4, videos=16)
    one = resolve(by_video(video), features, fit=fit_in_memory, split=split)
    again = resolve(by_video(video), features, fit=fit_in_memory, split=split)
    np.testing.assert_array_equal(one.weights, again.weights)
    assert one.losses == again.losses
    order = np.argsort(np.random.default_rng(0).random(len(video)), kind="stable")
    shuffled = resolve(by_video(video[order]), features[order], fit=fit_in_memory, split=split)
    np.testing.assert_array_equal(shuffled.weights > 0, one.weights[order] > 0)


def test_frames_with_verdicts_keep_their_label() -> None:
    """They count as chosen frames of their video, and are never chosen against their label."""
    features, video, truth = footage(5, videos=16)
    known = (video == 0) & ((truth == 1) | (np.arange(len(video)) < 10))
    labels = np.where(known, truth, 1.0 - video % 2)
    weights = np.where(known, 4.0, 1.0)
    frames = by_video(video, labels=labels, weights=weights, known=known)
    found = resolve(frames, features, fit=fit_in_memory, split=split)
    assert (found.weights[known] == 4).all()
    suspicious = int(truth[known].sum())
    chosen = (found.weights > 0) & (video == 0) & ~known
    others = int(((video == 0) & ~known).sum())
    assert chosen.sum() == min(others, max(0, num_top(SECONDS, found.extent) - suspicious))
    totals = np.bincount(video[~known], found.weights[~known])
    assert totals[totals > 0] == pytest.approx(totals.max())


def test_one_group_uses_the_default() -> None:
    features, video, _ = footage(6, videos=4)
    found = resolve(by_video(video), features, fit=fit_in_memory, split=split)
    assert (found.extent, found.losses) == (DEFAULTS["video"], {})
    notes = {"format": "video", "extent": found.extent, "extent_losses": {}}
    assert "the highest 1/4 of its frames, the default, as no group can be left out" in extent_sentence(notes)


def test_a_video_of_one_frame_and_equal_scores() -> None:
    video = np.array([0, 1, 1, 1, 1, 2, 3, 3])
    frames = WeakFrames(
        "video",
        labels=np.array([1.0, 1, 1, 1, 1, 0, 0, 0]),
        weights=np.ones(8),
        videos=video,
        groups=np.arange(8),
        known=np.zeros(8, bool),
    )
    rows, scores, labels = video_scores(frames, np.array([0.5, 0.1, 0.4, 0.2, 0.3, 0.6, 0.0, 1.0]), 1 / 2)
    assert (rows.tolist(), labels.tolist()) == ([0, 1, 5, 6], [1, 1, 0, 0])
    assert scores == pytest.approx([0.5, 0.35, 0.6, 1.0])
    flat = resolve(frames, np.zeros((8, 2)), fit=fit_in_memory, split=lambda *_: None)
    assert (flat.weights > 0).all(), "equal scores leave nothing to choose"


def points(seed: int, *, event_s: float, spacing_s: int = 40) -> tuple[WeakFrames, np.ndarray]:
    """Frames near points, of which an event lasts for half of `event_s` on each side of suspicious ones."""
    random = np.random.default_rng(seed)
    parts: list[tuple[np.ndarray, ...]] = []
    for video in range(24):
        seconds = np.arange(20.0, 400, spacing_s)
        labels = random.permutation(np.arange(len(seconds)) % 2)
        times_s = np.arange(400.0)
        found = near_points(times_s, seconds, labels, period_s=1.0)
        inside = np.abs(times_s[:, None] - seconds[labels == 1]).min(axis=1) <= event_s / 2
        features = random.normal(size=(400, 10))
        features[:, 0] += 1.5 * inside
        used = found.known | (found.distances_s <= 8)
        numbers = (labels[found.points], np.full(400, video), found.known, found.distances_s, features)
        parts.append(tuple(values[used] for values in numbers))
    labels, videos, known, distances_s, features = (np.concatenate(p) for p in zip(*parts, strict=True))
    ones = np.ones(len(labels))
    return WeakFrames("point", labels.astype(float), ones, videos, videos // 2, known, distances_s), features


@pytest.mark.parametrize("event_s", [2, 8])
def test_the_width_that_the_events_have_is_found(event_s: int) -> None:
    frames, features = points(7, event_s=event_s)
    found = resolve(frames, features, fit=fit_in_memory, split=split)
    assert found.extent == event_s
    assert frames.distances_s is not None
    assert (found.weights > 0).tolist() == (frames.distances_s <= event_s / 2).tolist()
    notes = {"format": "point", "extent": found.extent, "extent_losses": found.losses}
    assert f"holds for {event_s} s around it" in extent_sentence(notes) and "16 s 0." in extent_sentence(
        notes
    )


def test_points_meet_in_the_middle() -> None:
    times_s = np.arange(12.0)
    found = near_points(times_s, np.array([2.0, 6.0, 7.5, 99.0]), np.array([1, 0, 0, 1]), period_s=1.0)
    assert found.own.tolist() == [2, 6, 7, -1]
    assert found.known.nonzero()[0].tolist() == [2, 6, 7]
    assert found.points.tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
    # Second 4 is in the middle of points of both labels; 7 shows the point at 7.5.
    assert found.distances_s.tolist() == [2, 1, 0, 1, np.inf, 1, 0, 0, 0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("seconds", "own"), [([-0.5, 0.0], [-1, 0]), ([3.9, 5.4, 5.6], [3, 4, -1]), ([4.9999999, 2.0], [4, 2])]
)
def test_a_point_is_on_the_frame_that_is_shown(seconds: list[float], own: list[int]) -> None:
    labels = np.zeros(len(seconds))
    times_s = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert near_points(times_s, np.array(seconds), labels, period_s=1.0).own.tolist() == own
    assert near_points(np.zeros(0), np.array(seconds), labels, period_s=1.0).own.tolist() == [-1] * len(own)


def test_labels_of_a_group_do_not_choose_what_it_is_scored_with() -> None:
    """Each group has a feature that equals its labels; the loss on left-out groups is that of chance."""
    features, video, _ = footage(8, strength=0.0)
    own = (np.arange(15)[:, None] == video // 4).T * (1.0 - video % 2)[:, None]
    found = resolve(by_video(video), np.hstack([features, 50.0 * own]), fit=fit_in_memory, split=split)
    assert min(found.losses.values()) > np.log(2) - 0.15
