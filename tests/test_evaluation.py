"""Metrics against scikit-learn, and splits that never share a video."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from framewatch.config import RankingConfig
from framewatch.errors import InputError
from framewatch.ranking import evaluation
from framewatch.ranking.evaluation import RankedLabels, assign_folds
from framewatch.ranking.threshold import choose_threshold

SCORED = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60
)


@given(SCORED)
def test_same_as_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, truth = [s for s, _ in rows], [int(y) for _, y in rows]
    counted = RankedLabels.count(scores, truth)
    if sum(truth) == 0:
        assert counted.average_precision is None
    else:
        assert math.isclose(counted.average_precision, average_precision_score(truth, scores), abs_tol=1e-9)
    if 0 < sum(truth) < len(truth):
        assert math.isclose(counted.roc_auc, roc_auc_score(truth, scores), abs_tol=1e-9)
    else:
        assert counted.roc_auc is None


def test_precision_at_counts_the_top() -> None:
    counted = RankedLabels.count([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0])
    assert [counted.precision_at(k) for k in (1, 2, 3, 4, 5)] == [1.0, 0.5, pytest.approx(2 / 3), 0.5, None]


def test_perfect_order_and_its_reverse() -> None:
    assert RankedLabels.count([0.9, 0.8, 0.1], [1, 1, 0]).average_precision == 1.0
    assert RankedLabels.count([0.9, 0.8, 0.1], [0, 0, 1]).roc_auc == 0.0


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 9), max_size=12), st.integers(2, 6)
)
def test_folds_hold_whole_videos_and_suspicious_ones_each(videos: dict[str, int], folds: int) -> None:
    dealt = assign_folds(videos, folds)
    suspicious = [video for video, count in videos.items() if count]
    if len(suspicious) < 2:
        assert dealt == {}
        return
    assert set(dealt) == set(videos)
    used = set(dealt.values())
    assert len(used) == min(folds, len(suspicious))
    assert {dealt[video] for video in suspicious} == used


def test_no_classifier_scores_a_video_it_has_seen(spark) -> None:
    rows = [(f"{v}frame{k}.jpg", v, float(k), float(k % 2)) for v in ("a", "b", "c") for k in range(4)]
    labelled = spark.createDataFrame(rows, "origin string, video string, timestamp_s double, label double")
    seen: list[tuple[set[str], set[str]]] = []

    def fit(train):
        return {row["video"] for row in train.select("video").distinct().collect()}

    def score(held_out, trained_on):
        seen.append((trained_on, fit(held_out)))
        return held_out.withColumn("prob2", held_out["label"])

    scored = evaluation.out_of_fold(labelled, folds=5, fit=fit, score=score)
    assert scored.count() == 12
    assert len(seen) == 3
    assert all(trained.isdisjoint(held_out) and held_out for trained, held_out in seen)
    metrics = evaluation.evaluate(scored, precision_at=[3], budgets_minutes=[0.05])
    assert metrics["average_precision"] == 1.0
    assert metrics["precision_at"] == {"3": 1.0}
    assert set(metrics["videos"]) == {"a", "b", "c"}
    [spent] = metrics["budgets"]
    assert (spent["viewed"], spent["suspicious_viewed"], spent["incidents"]) == (3, 3, 3)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 1)), min_size=2, max_size=40), st.floats(0.05, 1)
)
def test_thresholds_keep_what_they_promise(rows: list[tuple[float, int]], share: float) -> None:
    scores, labels = zip(*rows, strict=True)
    curve = evaluation.RankedLabels.count(scores, labels).curve()
    if not sum(labels):
        assert curve == []
        return
    threshold = evaluation.threshold_for_recall(curve, share)
    found = sum(label for score, label in rows if score > threshold)
    assert found >= share * sum(labels) - 1e-6
    threshold = evaluation.threshold_for_share(curve, share)
    assert sum(score > threshold for score in scores) <= share * len(rows) + 1e-6


def test_too_few_suspicious_videos_give_no_evaluation(spark) -> None:
    labelled = spark.createDataFrame(
        [("a1", "a", 1.0), ("b1", "b", 0.0)], "origin string, video string, label double"
    )
    assert evaluation.out_of_fold(labelled, folds=5, fit=lambda df: None, score=lambda df, m: df) is None
    labelled = spark.createDataFrame(
        [("a1", "a", 1.0), ("b1", "b", 0.0), ("b2", "b", 1.0)], "origin string, video string, label double"
    )
    assert evaluation.out_of_fold(labelled, folds=5, fit=lambda df: None, score=lambda df, m: df) is None


CURVE = [
    {"threshold": 0.9, "precision": 1.0, "recall": 0.25, "share": 0.1},
    {"threshold": 0.6, "precision": 1.0, "recall": 0.5, "share": 0.2},
    {"threshold": 0.2, "precision": 0.5, "recall": 1.0, "share": 0.8},
]


@pytest.mark.parametrize(
    ("wanted", "above", "told"),
    [
        ({"threshold": 0.3}, 0.3, ""),
        ({"threshold": "auto", "recall": 0.5}, 0.6, ", for a recall of 0.5 on left-out videos"),
        ({"threshold": "auto", "recall": 0.51}, 0.2, ", for a recall of 0.51 on left-out videos"),
        (
            {"threshold": "auto", "budget_minutes": 20},
            0.6,
            ", for a budget of 20 of 100.0 minutes, from left-out videos",
        ),
        (
            {"threshold": "auto", "budget_minutes": 500},
            0.2,
            ", for a budget of 500 of 100.0 minutes, from left-out videos",
        ),
    ],
)
def test_the_threshold_for_a_recall_or_a_budget(wanted: dict, above: float, told: str) -> None:
    chosen = choose_threshold(RankingConfig(**wanted), {"curve": CURVE}, lambda: 100.0)
    assert chosen.log_suffix == told
    assert chosen.value == pytest.approx(above)
    if wanted["threshold"] == "auto":
        assert chosen.value < above, "frames at the curve's threshold lie above"


def test_a_budget_for_less_than_the_first_step_takes_nothing() -> None:
    chosen = choose_threshold(
        RankingConfig(threshold="auto", budget_minutes=1), {"curve": CURVE}, lambda: 100.0
    )
    assert chosen.value == 0.9


@pytest.mark.parametrize("metrics", [None, {"curve": []}, {"curve": [{"threshold": 0.5, "recall": 1.0}]}])
def test_auto_needs_left_out_videos(metrics: dict | None) -> None:
    with pytest.raises(InputError, match=r"ranking\.threshold=auto needs predictions of left-out videos"):
        choose_threshold(RankingConfig(threshold="auto"), metrics, lambda: 1.0)
