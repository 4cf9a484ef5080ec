"""Metrics against scikit-learn, their intervals, groups, and splits that never share a group."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from framewatch.config import RankingConfig
from framewatch.errors import InputError
from framewatch.ranking import cross_validation, evaluation, groups, model_card
from framewatch.ranking.cross_validation import assign_folds
from framewatch.ranking.evaluation import RankedLabels
from framewatch.ranking.intervals import RankedGroups
from framewatch.ranking.logistic import Logistic
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
def test_each_fold_has_whole_groups_and_suspicious_ones(counts: dict[str, int], folds: int) -> None:
    dealt = assign_folds(counts, folds)
    suspicious = [group for group, count in counts.items() if count]
    if len(suspicious) < 2:
        assert dealt == {}
        return
    assert set(dealt) == set(counts)
    used = set(dealt.values())
    assert len(used) == min(folds, len(suspicious))
    assert {dealt[group] for group in suspicious} == used


def test_frames_that_are_not_suspicious_are_spread_over_the_folds() -> None:
    """Else the base rate differs from fold to fold, and each is measured against the rate of the others."""
    ones = {f"s{number}": 4 + number for number in range(4)} | {f"n{number}": 0 for number in range(6)}
    sizes = {group: 10 for group in ones} | {"s0": 50, "n0": 30}
    fold_of = assign_folds(ones, 4, sizes=sizes)
    frames = [sum(sizes[group] for group in ones if fold_of[group] == fold) for fold in range(4)]
    assert sorted(frames) == [30, 40, 40, 50]
    assert {fold_of[group] for group in ones if group.startswith("s")} == {0, 1, 2, 3}


GROUP_OF = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "c2": "c"}


def test_no_classifier_scores_a_group_it_has_seen(spark) -> None:
    rows = [
        (f"{v}frame{k}.jpg", v, group, float(k), float(k % 2))
        for v, group in GROUP_OF.items()
        for k in range(4)
    ]
    columns = "origin string, video string, group string, timestamp_s double, label double"
    labelled = spark.createDataFrame(rows, columns)
    seen: list[tuple[set[str], set[str]]] = []

    def fit(train):
        return {row["group"] for row in train.select("group").distinct().collect()}

    def score(held_out, trained_on):
        seen.append((trained_on, fit(held_out)))
        return held_out.withColumn("prob2", held_out["label"])

    scored = cross_validation.out_of_fold(labelled, folds=5, fit=fit, score=score)
    assert scored.count() == 20
    assert len(seen) == 3
    assert all(trained.isdisjoint(held_out) and held_out for trained, held_out in seen)
    metrics = evaluation.evaluate(scored, precision_at=[3], budgets_minutes=[0.05])
    assert metrics["average_precision"] == 1.0
    assert metrics["precision_at"] == {"3": 1.0}
    assert set(metrics["videos"]) == set(GROUP_OF)
    assert (metrics["groups"], metrics["suspicious_groups"]) == (3, 3)
    [spent] = metrics["budgets"]
    assert (spent["viewed"], spent["suspicious_viewed"], spent["incidents"]) == (3, 3, 5)


def test_in_memory_no_classifier_scores_a_group_it_has_seen() -> None:
    of_frames = np.array(["a", "a", "a", "b", "b", "c", "c"])
    labels = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    seen: list[set[str]] = []

    def fit(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Logistic:
        seen.append(set(of_frames[weights > 0]))
        return Logistic(np.zeros(features.shape[1]), 0.0)

    features = np.arange(7.0)[:, None]
    args = (features, labels, np.ones(7), of_frames.tolist())
    assert cross_validation.out_of_fold_in_memory(*args, folds=5, fit=fit).tolist() == [0.5] * 7
    assert sorted(map(sorted, seen)) == [["a", "b"], ["a", "c"], ["b", "c"]]
    args = (features, labels, np.ones(7), ["a"] * 7)
    assert cross_validation.out_of_fold_in_memory(*args, folds=5, fit=fit) is None


RANKED = st.lists(
    st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.booleans(), st.integers(0, 3)),
    min_size=4,
    max_size=40,
)


@given(RANKED, st.sampled_from([1, 2, 5]))
def test_intervals_are_those_of_repeated_groups(rows: list[tuple[float, bool, int]], top: int) -> None:
    """Computes metrics anew on the frames of drawn groups, each as often as it is drawn."""
    rows = sorted(rows, key=lambda row: -row[0])
    scores, labels, of_frames = (np.array(column) for column in zip(*rows, strict=True))
    labels = labels.astype(float)
    firsts = labels > 0
    ranked = RankedGroups(scores, labels, of_frames, firsts)
    found = ranked.intervals(precision_at=[top], viewed=[top])
    if ranked.num_suspicious_groups < 2:
        assert found is None
        return
    names = np.unique(of_frames)
    draws = np.random.default_rng(1).integers(len(names), size=(300, len(names)))
    aps, precisions, recalls = [], [], []
    for draw in draws:
        repeated = np.array([(draw == place).sum() for place in np.searchsorted(names, of_frames)])
        counted = RankedLabels.count(np.repeat(scores, repeated), np.repeat(labels, repeated))
        if counted.positives:
            aps.append(counted.average_precision)
            recalls.append(counted.top_labels[:top].sum() / counted.positives)
        if (precision := counted.precision_at(top)) is not None:
            precisions.append(precision)
    for interval, values in (
        (found.average_precision, aps), (found.precision_at[0], precisions),
        (found.frame_recall[0], recalls), (found.incident_recall[0], recalls),
    ):  # fmt: skip
        if len(values) < 200:  # defined too rarely to compare shares
            continue
        low, high = interval
        assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
        # Both bounds leave out 2.5% of the resamples, and other draws a similar share.
        outside = [np.mean(np.array(values) < low - 1e-9), np.mean(np.array(values) > high + 1e-9)]
        assert max(outside) <= 0.08


def scored(videos: int, of_one_group: int, *, suspicious: int) -> pa.Table:
    """One frame a second for ten seconds of each video, the first videos with suspicious frames."""
    random = np.random.default_rng(0)
    rows = [
        {
            "origin": f"{video}-{second}", "video": f"v{video}", "timestamp_s": float(second),
            "label": float(video < suspicious and second < 5), "prob2": random.random(),
            "group": f"g{video // of_one_group}",
        }
        for video in range(videos)
        for second in range(10)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


MEASURES = {"precision_at": [3, 500], "budgets_minutes": [0.5], "period_s": 1.0, "gap_s": 2.0}


def test_clips_of_one_group_widen_the_intervals() -> None:
    rows = scored(40, 4, suspicious=20)
    grouped = evaluation.evaluate_rows(rows, **MEASURES)
    alone = evaluation.evaluate_rows(rows.drop_columns("group"), **MEASURES)
    assert (grouped["groups"], alone["groups"], grouped["suspicious_groups"]) == (10, 40, 5)
    for name in ("average_precision", "roc_auc"):
        low, high = grouped[f"{name}_interval"]
        assert low < grouped[name] == alone[name] < high
    low, high = grouped["average_precision_interval"]
    assert high - low > np.subtract(*alone["average_precision_interval"][::-1])
    assert grouped["precision_at"]["500"] is None and set(grouped["precision_at_interval"]) == {"3"}
    [spent] = grouped["budgets"]
    assert spent["frame_recall_interval"][0] <= spent["frame_recall"] <= spent["frame_recall_interval"][1]
    assert evaluation.evaluate_rows(rows, **MEASURES) == grouped, "the draws are always the same"


def test_reliability_is_that_of_scikit_learn() -> None:
    rows = scored(40, 4, suspicious=20)
    metrics = evaluation.evaluate_rows(rows, **MEASURES)
    prob2, labels = rows["prob2"].to_numpy(), rows["label"].to_numpy()
    assert metrics["brier_score"] == pytest.approx(brier_score_loss(labels, prob2))
    bins = metrics["reliability"]
    shares, means = calibration_curve(labels, prob2, n_bins=10, strategy="quantile")
    assert [row["share"] for row in bins] == pytest.approx(shares.tolist())
    assert [row["probability"] for row in bins] == pytest.approx(means.tolist())
    assert [row["frames"] for row in bins] == [40] * 10
    assert metrics["expected_calibration_error"] == pytest.approx(np.abs(shares - means).mean())
    assert all(row["share_interval"][0] <= row["share"] <= row["share_interval"][1] for row in bins)
    assert any(row["share_interval"][0] < row["share"] < row["share_interval"][1] for row in bins)
    alone = evaluation.evaluate_rows(scored(40, 4, suspicious=4), **MEASURES)["reliability"]
    assert [row["share_interval"] for row in alone] == [None] * 10


def test_equal_probabilities_are_in_one_bin() -> None:
    rows = scored(40, 4, suspicious=20).to_pandas()
    rows["prob2"] = rows["prob2"].where(rows["prob2"] > 0.75, 0.25)
    bins = evaluation.evaluate_rows(pa.Table.from_pandas(rows), **MEASURES)["reliability"]
    assert bins[0]["probability"] == 0.25 and bins[0]["frames"] == (rows["prob2"] == 0.25).sum()
    assert sum(row["frames"] for row in bins) == 400 and 2 <= len(bins) <= 10


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        (
            scored(40, 4, suspicious=20),
            "10 groups of videos, 5 with suspicious frames. Ranges in brackets are 95%",
        ),
        (
            scored(40, 5, suspicious=20),
            "Warning: 8 groups of videos, 4 with suspicious frames. With fewer than 10",
        ),
        (
            scored(40, 4, suspicious=4),
            "Warning: 10 groups of videos, 1 with suspicious frames. An interval needs",
        ),
    ],
)
def test_the_model_card_names_what_metrics_stand_on(rows: pa.Table, warning: str) -> None:
    metrics = evaluation.evaluate_rows(rows, **MEASURES)
    labels = {
        "file": "labels.csv", "labelled_frames": 400, "suspicious_frames": 100, "unlabelled_frames": 0,
        "unmatched": 0, "groups": metrics["groups"], "suspicious_groups": metrics["suspicious_groups"],
    }  # fmt: skip
    notes = {"features": {}, "labels": labels, "settings": {}, "cross_validation": metrics}
    card = model_card.render(notes)
    assert warning in card
    has_interval = metrics["suspicious_groups"] > 1
    assert ("AP 0." in card) and (" to 0." in card) == has_interval
    assert "precision@3" in model_card.quality(metrics)
    assert model_card.quality(metrics).count(" to ") == 2 * has_interval, "those of AP and ROC AUC"
    assert f"Brier score {metrics['brier_score']:.3f}" in card
    assert "On the labelled footage, not on new footage" in card
    labels |= {"groups": 1, "suspicious_groups": 1}
    card = model_card.render({**notes, "cross_validation": None})
    assert "Warning: not measured, as all labelled videos are in one group" in card


@pytest.mark.parametrize(
    ("calibration", "line"),
    [
        (
            {"kind": "platt", "slope": 0.4, "intercept": -1.25, "frames": 400, "share": 0.25},
            "Platt scaling (slope 0.4, intercept -1.25) on out-of-fold predictions of 400 frames, 25%",
        ),
        (
            {"kind": "isotonic", "slope": 1.0, "log_odds": [-1.0, 1.0], "frames": 400, "share": 0.25},
            "Calibrated by isotonic regression (2 steps) on",
        ),
        ({"kind": "none", "reason": "as no videos were left out"}, "Not calibrated, as no videos were"),
        ({"kind": "none", "reason": "as it is", "warning": True}, "Warning: not calibrated, as it is."),
        (None, ""),
    ],
)
def test_the_model_card_names_the_calibration(calibration: dict | None, line: str) -> None:
    labels = {"file": "a.csv", "labelled_frames": 4, "suspicious_frames": 1, "unlabelled_frames": 0}
    notes = {"features": {}, "labels": {**labels, "unmatched": 0}, "settings": {}, "cross_validation": None}
    card = model_card.render(notes if calibration is None else {**notes, "calibration": calibration})
    assert line in card and ("calibrated" in card.lower()) == bool(line)


def test_the_model_card_has_what_thresholds_reach_on_other_folds() -> None:
    metrics = evaluation.evaluate_rows(scored(40, 4, suspicious=20), **MEASURES)
    assert model_card.threshold_quality(metrics) == "", "only measured out of fold"
    reached = {"wanted": 0.9, "recall": 0.84, "recall_interval": [0.7, 0.93], "precision": None}
    text = "A threshold that is chosen on the other folds for a recall of 0.9 reaches a recall of 84%"
    text += " (70% to 93%)"
    assert model_card.threshold_quality({"threshold_recall": reached}) == text
    reached |= {"precision": 0.3, "precision_interval": None}
    assert model_card.threshold_quality({"threshold_recall": reached}) == f"{text}, at a precision of 30%"


HALL, YARD = "file:/hall/", "file:/yard/"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.mp4", "b.mp4"], [0, 1]),  # no clock: each video
        (["x_20260101T080000.mp4", "x_20260101T095900.mp4"], [0, 0]),  # 59 minutes after an hour's file
        (["x_20260101T080000.mp4", "x_20260101T100001.mp4"], [0, 1]),
        (["x_20260101T233000.mp4", "x_20260102T003000.mp4", "x_20260102T014500.mp4"], [0, 0, 0]),  # midnight
        (["x_20260101T080000.mp4", "x_20260102T080000.mp4"], [0, 1]),  # another day
        (["x_20260102T080000.mp4", "x_20260101T080000.mp4", "x_20260101T090000.mp4"], [0, 1, 1]),
        (["x_20269999T080000.mp4", "x_20269999T090000.mp4"], [0, 1]),  # no such day
    ],
)
def test_files_that_follow_each_other_are_one_recording(names: list[str], expected: list[int]) -> None:
    videos = [HALL + name for name in names]
    found = groups.complete(videos, {}, dict.fromkeys(videos, 3600.0))
    assert [found[video] for video in videos] == [found[videos[place]] for place in expected]
    assert len(set(found.values())) == len(set(expected))


def test_given_groups_come_first_and_hold_for_the_recording() -> None:
    first, second, third = (HALL + f"x_20260101T{hour:02d}0000.mp4" for hour in (8, 9, 10))
    other = YARD + "x_20260101T080000.mp4"
    given = {second: "r1", "file:/elsewhere.mp4": "r2"}
    found = groups.complete(
        [first, second, third, other], given, dict.fromkeys([first, second, third], 3600.0)
    )
    assert found == {first: "r1", second: "r1", third: "r1", other: other}


def test_labels_and_file_must_agree_on_a_group() -> None:
    assert groups.agreed({"a": "1"}, {"a": "1", "b": "2"}, "groups.csv") == {"a": "1", "b": "2"}
    with pytest.raises(
        InputError, match=r"a is in the group '1' in its labels and in '2' in groups\.csv: a video"
    ):
        groups.agreed({"a": "1"}, {"a": "2"}, "groups.csv")


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


@pytest.mark.parametrize(
    ("labels", "explanation"),
    [
        ([1, 0], "as 1 of 2 groups of videos has suspicious frames: label such frames in a second group"),
        ([1, 0, 1], "as the frames that are not suspicious are in too few groups"),
    ],
)
def test_too_few_suspicious_groups_give_no_evaluation(labels: list[int], explanation: str) -> None:
    of_frames = ["a", "b", "b"][: len(labels)]
    args = (np.zeros((len(labels), 1)), np.array(labels, float), np.ones(len(labels)), of_frames)
    fit = lambda *_: Logistic(np.zeros(1), 0.0)  # noqa: E731
    assert cross_validation.out_of_fold_in_memory(*args, folds=5, fit=fit) is None
    counts = {"groups": 2, "suspicious_groups": len(set(np.array(of_frames)[np.array(labels) > 0]))}
    assert explanation in model_card.not_measured(counts)


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
