"""What minutes of review buy, counted by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.ranking.budgets import RankedFrames, sentence


def ranked(rows: list[tuple[str, float, int]], **options: float) -> RankedFrames:
    videos, times, labels = zip(*rows, strict=True)
    return RankedFrames(
        np.array(videos), np.array(times), np.array(labels), **{"period_s": 1.0, "gap_s": 2.0, **options}
    )


# Two incidents in a (seconds 0-1 and 10), one in b (second 0); the second of a is ranked first.
ROWS = [("a", 1.0, 1), ("b", 5.0, 0), ("b", 0.0, 1), ("a", 0.0, 1), ("b", 4.0, 0), ("a", 10.0, 1)]


def test_counts_in_frames_and_incidents() -> None:
    [spent] = ranked(ROWS).spend([0.05])  # three seconds
    assert (spent.viewed, spent.suspicious_viewed, spent.suspicious) == (3, 2, 4)
    assert (spent.incidents_found, spent.incidents) == (2, 3)
    assert (spent.stops, spent.stops_suspicious) == (3, 2), "a1, b5 and b0 are apart"
    told = spent.summary()
    assert (told["frame_recall"], told["frame_precision"]) == (0.5, pytest.approx(2 / 3))
    assert (told["incident_recall"], told["incident_precision"]) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )
    assert sentence(told).startswith("reviewing 0.05 minutes finds 67% of the incidents and 50% of")


def test_frames_cost_what_they_last() -> None:
    assert [spent.viewed for spent in ranked(ROWS, period_s=0.5).spend([0.025, 0.05, 9])] == [3, 6, 6]
    assert [spent.incidents for spent in ranked(ROWS, gap_s=20).spend([1])] == [2]


def test_more_than_all_of_it_and_nothing_suspicious() -> None:
    [spent] = ranked([("a", 0.0, 0)]).spend([5])
    told = spent.summary()
    assert (told["incident_recall"], told["frame_precision"], told["incident_precision"]) == (None, 0.0, 0.0)
    assert sentence(told) == "reviewing 5 minutes (all of it) finds nothing: no label is suspicious"


given_row = st.tuples(st.sampled_from("ab"), st.integers(0, 30).map(float), st.integers(0, 1))


@given(st.lists(given_row, min_size=1, max_size=40, unique_by=lambda row: row[:2]))
def test_more_minutes_never_find_less(rows: list[tuple[str, float, int]]) -> None:
    spent = list(ranked(rows).spend([0.01, 0.1, 0.2, 0.5, 1]))
    for less, more in itertools.pairwise(spent):
        assert less.suspicious_viewed <= more.suspicious_viewed
        assert less.incidents_found <= more.incidents_found
    last = spent[-1]
    assert (last.suspicious_viewed, last.incidents_found) == (last.suspicious, last.incidents)
    assert last.viewed == last.frames
