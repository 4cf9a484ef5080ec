"""The estimate of what was missed: its interval must hold what it says, for every possible truth."""

import pytest
from scipy.stats import hypergeom

from framewatch.feedback.audit import estimate_missed


@pytest.mark.parametrize(("frames", "drawn"), [(40, 10), (40, 40), (60, 5), (25, 1)])
def test_the_interval_covers_the_truth_in_95_of_100_samples(frames: int, drawn: int) -> None:
    intervals = [estimate_missed(frames, drawn, seen, found=0) for seen in range(drawn + 1)]
    for suspicious in range(frames + 1):
        covered = sum(
            hypergeom.pmf(seen, frames, suspicious, drawn)
            for seen, it in enumerate(intervals)
            if it.low <= suspicious <= it.high
        )
        assert covered >= 0.95
    for seen, it in enumerate(intervals):
        assert it.low <= it.estimate <= it.high
        assert it.estimate == pytest.approx(frames * seen / drawn)


def test_what_was_found_is_no_longer_missed() -> None:
    it = estimate_missed(1000, 100, 5, found=30)
    assert it.estimate == 20
    assert 0 < it.low + 30 < 50 < it.high + 30 < 130
    assert estimate_missed(1000, 100, 5, found=500).estimate == 0
    assert it.sentence == (
        f"about 20 suspicious frames (95%: {it.low} to {it.high}) are still unseen in the 1000 frames "
        "outside incidents: 5 of 100 frames drawn at random were suspicious"
    )


def test_nothing_drawn_tells_nothing() -> None:
    it = estimate_missed(1000, 0, 0, found=3)
    assert (it.low, it.high) == (0, 997)
    assert "no audit sample yet" in it.sentence


def test_all_drawn_tells_all() -> None:
    it = estimate_missed(50, 50, 7, found=7)
    assert (it.low, it.estimate, it.high) == (0, 0, 0)


def test_none_in_300_bounds_the_share_at_about_one_percent() -> None:
    assert estimate_missed(1_000_000, 300, 0, found=0).high / 1_000_000 == pytest.approx(0.0122, abs=5e-4)


def test_unsure_verdicts_widen_the_interval_on_both_sides() -> None:
    """Whatever the truth about them is, the interval holds that of a sample without unsure ones."""
    unsure = estimate_missed(1000, 97, 5, found=0, unsure=3)
    assert unsure.low == estimate_missed(1000, 100, 5, found=0).low
    assert unsure.high == estimate_missed(1000, 100, 8, found=0).high
    assert unsure.estimate == pytest.approx(1000 * 5 / 97)
    assert unsure.sentence.endswith(
        "5 of 97 frames drawn at random were suspicious, and 3 more were unsure, which only the upper bound "
        "counts as suspicious"
    )
    only = estimate_missed(1000, 0, 0, found=0, unsure=2)
    assert (only.low, only.high) == (0, 1000)
    assert "no audit sample yet" in only.sentence and "2 unsure" in only.sentence
