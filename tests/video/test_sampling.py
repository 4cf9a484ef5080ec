"""Which frames are samples: checked on any frame rate and any irregular times."""

from fractions import Fraction

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
    tolerance_s = min(frame_duration_s, 1 / fps) / 2 + 2e-6
    assert taken[0] == (0, 0)
    assert numbers == sorted(set(numbers)) and frames == sorted(set(frames))  # none twice
    for k, n in taken:
        assert times[n] >= k / fps - tolerance_s  # none early
    # None missing: a frame left out is no first one after any sample's time.
    for n in range(len(times)):
        if n not in frames:
            before = max(k for k, m in taken if m < n)
            assert times[n] < (before + 1) / fps - tolerance_s + 4e-6
