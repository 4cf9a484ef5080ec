"""Clips of matching frames, and the share of a video that they cover."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.prompts.class_clips import ClassClip, covered_s, duration_ratio, find_clips, frame_ends


def clips_of(
    scores: list[float], *, threshold: float = 50, gap_s: float = 0, period_s: float = 1
) -> list[ClassClip]:
    times_s = np.arange(len(scores)) * period_s
    ends_s = frame_ends(times_s, period_s=period_s, duration_s=None)
    return find_clips(times_s, ends_s, np.array(scores, float), threshold=threshold, gap_s=gap_s)


def test_a_clip_is_a_run_of_matching_frames() -> None:
    assert clips_of([0, 60, 80, 0, 0, 0, 50]) == [ClassClip(1.0, 3.0, 70.0), ClassClip(6.0, 7.0, 50.0)]
    assert clips_of([0, 60, 80, 0, 0, 0, 50], gap_s=2) == [
        ClassClip(1.0, 3.0, 70.0),
        ClassClip(6.0, 7.0, 50.0),
    ]
    assert clips_of([0, 60, 80, 0, 0, 0, 51], gap_s=3) == [ClassClip(1.0, 7.0, 191 / 3)]
    assert clips_of([0, 49.9]) == clips_of([]) == []


def test_a_frame_without_features_matches_nothing() -> None:
    assert clips_of([60, np.nan, 60], threshold=0) == [ClassClip(0.0, 1.0, 60.0), ClassClip(2.0, 3.0, 60.0)]


def test_frames_end_with_the_next_or_with_the_video() -> None:
    times_s = np.array([0.0, 1.0, 1.5, 5.0])
    assert frame_ends(times_s, period_s=1, duration_s=5.25).tolist() == [1, 1.5, 2.5, 5.25]
    assert frame_ends(times_s, period_s=1, duration_s=None).tolist() == [1, 1.5, 2.5, 6]
    assert frame_ends(times_s, period_s=1, duration_s=4).tolist() == [1, 1.5, 2.5, 6]
    assert frame_ends(np.array([]), period_s=1, duration_s=3).tolist() == []


def test_overlaps_count_once() -> None:
    clips = [ClassClip(0, 4, 1), ClassClip(2, 6, 1), ClassClip(3, 5, 1), ClassClip(8, 9, 1)]
    assert covered_s(clips) == 7
    assert duration_ratio(clips, length_s=14) == 0.5
    assert duration_ratio(clips, length_s=0) == duration_ratio([], length_s=5) == 0


SCORES = st.lists(st.one_of(st.floats(0, 100), st.just(float("nan"))), max_size=60)
STRETCHES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30)


@given(
    scores=SCORES,
    threshold=st.floats(0, 100),
    gap_s=st.integers(0, 5),
    period_s=st.sampled_from([0.04, 1 / 3, 1, 2]),
)
def test_clips_hold_every_matching_frame_and_are_apart(scores, threshold, gap_s, period_s) -> None:
    clips = clips_of(scores, threshold=threshold, gap_s=gap_s, period_s=period_s)
    matching = [n * period_s for n, score in enumerate(scores) if score >= threshold]
    inside = [time_s for time_s in matching if any(clip.start_s <= time_s < clip.end_s for clip in clips)]
    assert inside == matching
    for clip in clips:
        assert clip.start_s in matching and clip.start_s < clip.end_s
        assert threshold <= clip.score + 1e-9 and clip.score <= 100 + 1e-9
        assert any(abs(time_s + period_s - clip.end_s) < 1e-6 for time_s in matching)
    for one, other in itertools.pairwise(clips):
        assert other.start_s - one.end_s > gap_s
    without_bridges = clips_of(scores, threshold=threshold, period_s=period_s)
    assert covered_s(without_bridges) == pytest.approx(len(matching) * period_s)
    assert covered_s(clips) >= covered_s(without_bridges) - 1e-6


@given(STRETCHES, st.integers(0, 100))
def test_the_ratio_is_of_seconds_covered(stretches: list[tuple[int, int]], length_s: int) -> None:
    clips = [ClassClip(float(start), float(start + length), 1.0) for start, length in stretches]
    seconds = {second for start, length in stretches for second in range(start, start + length)}
    assert covered_s(clips) == len(seconds)
    ratio = duration_ratio(clips, length_s=length_s)
    assert 0 <= ratio <= 1
    assert ratio == (min(1.0, len(seconds) / length_s) if length_s else 0.0)
