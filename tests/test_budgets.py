"""What minutes of review buy, counted by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.ranking import expectation
from framewatch.ranking.budgets import RankedFrames, sentence
from framewatch.ranking.expectation import Prevalence
from framewatch.ranking.left_out import Suspicious


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


# Of two groups, ten frames each: in one, two of three score above 0.6, in the other one of three.
LEFT_OUT = Suspicious(np.array([0.9, 0.7, 0.2, 0.8, 0.5, 0.4]), np.array([0, 0, 0, 1, 1, 1]))


def expected(prevalence: float, source: str = "assumed", **changes: object) -> dict:
    """340 minutes at a frame a second."""
    settings = {
        "frames": 20_400, "period_s": 1.0, "minutes": [1, 5, 500], "thresholds": [0.85, 0.6, None],
        "recalls": LEFT_OUT.recalls, "prevalence": Prevalence(prevalence, source),
    }  # fmt: skip
    return expectation.expect(**{**settings, **changes})


def test_recall_comes_from_labels_threshold_from_the_footage_and_precision_from_the_prevalence() -> None:
    one, five, all_of_it = expected(0.01)["budgets"]
    assert (one["frames"], one["threshold"], one["recall"]) == (60, 0.85, pytest.approx(1 / 6))
    assert (five["frames"], five["recall"]) == (300, pytest.approx(1 / 2))
    assert five["precision"] == pytest.approx(0.5 * 204 / 300)
    assert five["recall_interval"] == pytest.approx((1 / 3, 2 / 3))
    assert (all_of_it["recall"], all_of_it["precision"]) == (1.0, pytest.approx(0.01))
    assert expected(0.02)["budgets"][1]["precision"] == pytest.approx(2 * five["precision"])
    assert expected(0.9)["budgets"][1]["precision"] == 1.0
    of_one_group = Suspicious(LEFT_OUT.probabilities[:3], LEFT_OUT.groups[:3])
    assert expected(0.01, recalls=of_one_group.recalls)["budgets"][1]["recall_interval"] is None


def test_what_is_expected_is_what_reviewers_find_where_little_is_suspicious() -> None:
    """A third of the labelled frames are suspicious, and one in 200 of the footage."""
    random = np.random.default_rng(0)

    def scores(suspicious: int, harmless: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat([1, 0], [suspicious, harmless])
        return 1 / (1 + np.exp(1 - 3 * labels - random.normal(0, 1.2, len(labels)))), labels

    labelled, labels = scores(3000, 6000)
    footage, truth = scores(2000, 398_000)
    order, viewed = np.argsort(-footage), (1200, 4800)
    found = expectation.expect(
        frames=400_000,
        period_s=1.0,
        minutes=[20.0, 80.0],
        thresholds=[footage[order[number - 1]] for number in viewed],
        recalls=Suspicious(labelled[labels > 0], np.arange(3000) % 20).recalls,
        prevalence=Prevalence(0.005, "assumed"),
    )["budgets"]
    for spent, number in zip(found, viewed, strict=True):
        reached = truth[order[:number]].sum()
        assert spent["recall"] == pytest.approx(reached / 2000, abs=0.03)
        assert spent["precision"] == pytest.approx(reached / number, rel=0.1)
    # The top 1.2% of the labelled frames, as many as 80 minutes are of the footage, would find far less.
    top = np.argsort(-labelled)[: round(0.012 * len(labelled))]
    assert labels[top].sum() / 3000 < 0.5 * found[1]["recall"]


def test_the_sentence_names_the_prevalence_and_its_source() -> None:
    footage = expected(0.004)
    assert expectation.sentence(footage, minutes=5) == (
        "in this footage, reviewing 5 minutes (of 340) is expected to find 50% (33% to 67%) of the "
        "suspicious frames, at a precision of 14%; prevalence 0.4%, assumed"
    )
    assert "reviewing 500 minutes (all) is expected to find 100%" in expectation.sentence(footage)
    audited = expectation.with_prevalence(footage, Prevalence(0.16, "audit"))
    assert "prevalence 16%, estimated by the audit" in expectation.sentence(audited)
    text = expectation.sentence(expected(0.03, "probabilities"))
    assert "prevalence 3%, the mean of the probabilities" in text
    assert expectation.sentence(expected(0.01, recalls=None)) == "", "nothing was left out"
    assert expectation.sentence(expected(0.01, minutes=[0.01], thresholds=[None])).endswith(
        "expected to find 0% of the suspicious frames; prevalence 1%, assumed"
    )


def test_labels_of_chosen_clips_are_warned_of() -> None:
    footage = expected(0.004)
    assert "33% of the labelled frames are suspicious, and 0.4% of this footage (assumed)" in (
        expectation.warning(footage, 0.33)
    )
    assert expectation.warning(footage, 0.011) == expectation.warning(footage, None) == ""
