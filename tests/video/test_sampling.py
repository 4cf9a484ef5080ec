"""Which frames are samples: checked on any frame rate and any irregular times."""

import itertools
from fractions import Fraction
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.video.sampling import sample

RATES = [
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(24000, 1001),
    Fraction(10),
    Fraction(1),
    Fraction(1, 2),
]


def at_rate(rate: Fraction, frames: int) -> list[float]:
    return [float(n / rate) for n in range(frames)]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_constant_rate_gives_each_second_its_nearest_frame(rate: Fraction) -> None:
    times = at_rate(rate, 300)
    taken = list(sample(times, fps=1, frame_duration_s=float(1 / rate)))
    if rate >= 1:
        assert [k for k, _ in taken] == list(range(len(taken)))
    else:
        assert [n for _, n in taken] == list(range(300))  # slower than 1 fps: every frame, once
    for k, n in taken:
        assert abs(times[n] - k) <= max(0.5 / float(rate), 1e-6)


def test_25_fps_takes_every_25th_frame() -> None:
    assert list(sample(at_rate(Fraction(25), 100), fps=1, frame_duration_s=0.04)) == [
        (0, 0),
        (1, 25),
        (2, 50),
        (3, 75),
    ]


def test_native_rate_takes_every_frame() -> None:
    times = at_rate(Fraction(30000, 1001), 500)
    taken = list(sample(times, fps=30000 / 1001, frame_duration_s=1001 / 30000))
    assert [n for _, n in taken] == list(range(500))


def test_a_gap_leaves_the_numbers_of_its_seconds_out() -> None:
    assert list(sample([0.0, 0.5, 1.0, 5.2, 6.0], fps=1)) == [(0, 0), (1, 2), (5, 3), (6, 4)]


@given(
    gaps=st.lists(st.floats(0.001, 5), min_size=1, max_size=200),
    fps=st.floats(0.01, 60),
    frame_duration_s=st.floats(0, 1),
)
def test_any_irregular_times(gaps: list[float], fps: float, frame_duration_s: float) -> None:
    times = [0.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    taken = list(sample(times, fps=fps, frame_duration_s=frame_duration_s))
    numbers, frames = [k for k, _ in taken], [n for _, n in taken]
    distances = [later - earlier for earlier, later in itertools.pairwise(times)]
    neighbours = [distances[max(0, n - 2) : n + 1] for n in range(len(times))]
    tolerances_s = [min(median_low(near), frame_duration_s, 1 / fps) / 2 + 2e-6 for near in neighbours]
    assert taken[0] == (0, 0)
    assert numbers == sorted(set(numbers)) and frames == sorted(set(frames))  # none twice
    for k, n in taken:
        assert times[n] >= k / fps - tolerances_s[n]  # none early
    # None missing: a frame left out is no first one after any sample's time.
    for n in range(len(times)):
        if n not in frames:
            before = max(k for k, m in taken if m < n)
            assert times[n] < (before + 1) / fps - tolerances_s[n] + 4e-6


def test_a_gap_makes_no_frame_early() -> None:
    """A recorder that waits for motion: 10 frames a second, but for 20 minutes none."""
    times = [n / 10 for n in range(100)] + [1200 + n / 10 for n in range(100, 200)]
    expected = [(k, 10 * k) for k in range(10)] + [(1200 + k, 10 * k) for k in range(10, 20)]
    assert list(sample(times, fps=1)) == expected


def test_where_the_rate_changes_half_a_frame_is_half_of_those_near() -> None:
    """Half a second early is right for a frame every second, and wrong for ten."""
    slow, fast = [0.6 * n for n in range(10)], [6 + 0.1 * n for n in range(20)]
    taken = {k: ([*slow, *fast])[n] for k, n in sample([*slow, *fast], fps=1)}
    assert taken == pytest.approx({0: 0, 1: 1.2, 2: 1.8, 3: 3.0, 4: 4.2, 5: 4.8, 6: 6.0, 7: 7.0})


@pytest.mark.parametrize("wrong", [0.0001, 3.0])
def test_one_time_that_is_off_changes_no_other_sample(wrong: float) -> None:
    times = at_rate(Fraction(25), 250)
    times[100] = times[99] + wrong
    kept = [pair for pair in sample(at_rate(Fraction(25), 250), fps=1) if pair[1] < 99]
    assert [pair for pair in sample(times, fps=1) if pair[1] < 99] == kept
