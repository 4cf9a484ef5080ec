"""The seconds around a frame: what a classifier makes of them, in NumPy and in Spark."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from spark_run import LENGTH, make

from framewatch.cli.main import main
from framewatch.pipeline import fitting
from framewatch.ranking import classifier
from framewatch.ranking.classifier import fit_in_memory
from framewatch.ranking.context import COLUMNS, Context, context_columns
from framewatch.ranking.context_training import ContextTraining
from framewatch.ranking.scores import in_context
from framewatch.tables import saved_model
from framewatch.tables.spark_tables import Tables

GROUPS, SECONDS = 12, 60


def drawn(*, signal: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, ContextTraining]:
    """Features, labels and the training of videos with an event of ten seconds, which one number shows."""
    random = np.random.default_rng(seed)
    labels = np.zeros((GROUPS, SECONDS))
    for row in labels:
        start = random.integers(SECONDS - 10)
        row[start : start + 10] = 1
    labels = labels.ravel()
    features = random.normal(size=(len(labels), 20))
    features[:, 0] += signal * labels
    videos = np.repeat([f"camera{number:02}/a.mp4" for number in range(GROUPS)], SECONDS)
    times_s = np.tile(np.arange(SECONDS, dtype=float), GROUPS)
    return (
        features,
        labels,
        ContextTraining(fit_in_memory, videos, videos, times_s, folds=5, choose=True),
    )


def slow_columns(own: np.ndarray, videos: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """The definition, frame by frame."""
    rows = []
    for value, video, time in zip(own, videos, times_s, strict=True):
        row = [value]
        for half in (2.0, 8.0):
            near = (videos == video) & (np.abs(times_s - time) <= half)
            after, before = own[near & (times_s > time)], own[near & (times_s < time)]
            later, sooner = (side.mean() if len(side) else value for side in (after, before))
            row += [own[near].mean(), own[near].max(), later - sooner]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("seed", range(3))
def test_columns_are_means_maxima_and_rises_of_both_windows(seed: int) -> None:
    random = np.random.default_rng(seed)
    own, videos = random.normal(size=120), random.choice(["a", "b", "c"], 120)
    times_s = random.integers(0, 80, 120) / 2  # also several frames at a time
    np.testing.assert_allclose(context_columns(own, videos, times_s), slow_columns(own, videos, times_s))


def test_a_frame_alone_stands_for_what_is_around_it() -> None:
    found = context_columns(np.array([2.0]), np.array(["a"]), np.array([5.0]))
    assert dict(zip(COLUMNS, found[0], strict=True)) == {
        "own": 2, "mean_4": 2, "max_4": 2, "rise_4": 0, "mean_16": 2, "max_16": 2, "rise_16": 0
    }  # fmt: skip


def test_spark_computes_the_same(spark: SparkSession) -> None:
    random = np.random.default_rng(1)
    prob2, videos = random.random(90), random.choice(["a.mp4", "b.mp4"], 90)
    times_s = np.cumsum(random.choice([0.04, 0.5, 1.0, 7.0], 90))
    context = Context(tuple(random.normal(size=len(COLUMNS))), 0.3)
    rows = [
        (n, str(v), float(t), float(1 - p), float(p))
        for n, (v, t, p) in enumerate(zip(videos, times_s, prob2, strict=True))
    ]
    scored = spark.createDataFrame(
        rows, "n int, video string, timestamp_s double, prob1 double, prob2 double"
    )
    found = in_context(scored, context)
    assert found.columns == scored.columns
    by_row = {row["n"]: row for row in found.collect()}
    log_odds = context.log_odds(context_columns(np.log(prob2) - np.log1p(-prob2), videos, times_s))
    np.testing.assert_allclose(
        [by_row[n]["prob2"] for n in range(90)], 1 / (1 + np.exp(-log_odds)), rtol=1e-9
    )
    np.testing.assert_allclose([by_row[n]["prob1"] for n in range(90)], 1 / (1 + np.exp(log_odds)), rtol=1e-9)
    assert in_context(scored, None) is scored


def test_context_is_used_where_events_last_and_ranks_them_better() -> None:
    features, labels, training = drawn(signal=1.0)
    found = training.train(features, labels, np.ones(len(labels)))
    assert found.context is not None
    own, nested = found.compared
    assert nested["gain"] > nested["gain_error"] > 0 and own["gain"] == 0
    assert nested["roc_auc"] > own["roc_auc"] + 0.1
    assert Context.of_notes(found.notes()) == found.context


def test_context_of_noise_is_not_used() -> None:
    features, labels, training = drawn(signal=0.0)
    found = training.train(features, labels, np.ones(len(labels)))
    assert found.context is None and Context.of_notes(found.notes()) is None
    assert len(found.compared) == 2


def test_frames_around_labelled_ones_count_for_their_context_only() -> None:
    """Every third frame is labelled; the others, with wrong labels and no weight, change no classifier."""
    features, labels, training = drawn(signal=1.0)
    weights = (np.arange(len(labels)) % 3 == 0).astype(float)
    found = training.train(features, labels, weights)
    wrong = training.train(features, np.where(weights > 0, labels, 1 - labels), weights)
    assert found.context is not None and found.context == wrong.context
    np.testing.assert_array_equal(found.logistic.coefficients, wrong.logistic.coefficients)
    held_out = np.isin(training.groups, training.groups[:1])
    scored = training.left_out(held_out, features, labels, weights)
    alone = training.left_out(held_out & (weights > 0), features, labels, weights)
    assert len(scored) == SECONDS and not np.allclose(scored[::3], alone)


def test_left_out_frames_do_not_depend_on_their_labels() -> None:
    features, labels, training = drawn(signal=1.0)
    held_out = np.isin(training.groups, np.unique(training.groups)[:2])
    ones = np.ones(len(labels))
    scored = training.left_out(held_out, features, labels, ones)
    other = training.left_out(held_out, features, np.where(held_out, 1 - labels, labels), ones)
    np.testing.assert_array_equal(scored, other)


@pytest.mark.parametrize("number", [1, 2])
def test_without_context_in_all_folds_there_is_none(number: int) -> None:
    """Of two groups with events, one trains while the other is left out, and has none to compare with."""
    features, labels, training = drawn(signal=1.0)
    few = np.isin(training.groups, np.unique(training.groups)[:number])
    found = training.train(features, labels, few.astype(float))
    assert found.context is None and found.compared == []


def test_context_assumes_the_share_that_single_frames_do() -> None:
    features, labels, training = drawn(signal=1.0)
    found = training.train(features, labels, np.ones(len(labels)))
    assert found.context is not None
    own = features @ found.logistic.coefficients + found.logistic.intercept
    columns = context_columns(own, training.videos, training.times_s)
    assert found.context.log_odds(columns).mean() == pytest.approx(own.mean(), abs=0.3)


TRAINED, RANKED, LONG = "abcdefgh", "pqr", 40
EVENT = slice(15, 25)


@pytest.fixture(scope="module")
def output(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos with an event of ten seconds, of which every third second is labelled."""
    root = tmp_path_factory.mktemp("context")
    seconds = {}
    for number, name in enumerate([*TRAINED, *RANKED]):
        rows = np.random.default_rng(number).normal(size=(LONG, LENGTH))
        rows[EVENT, 0] += 1.5
        seconds[name] = rows.tolist()
    make(spark, root / "out", seconds)
    lines = [
        f"{name},{second},{second + 1},{int(EVENT.start <= second < EVENT.stop)}"
        for name in TRAINED
        for second in range(0, LONG, 3)
    ]
    (root / "labels.csv").write_text("\n".join(["video,start_s,end_s,label", *lines]) + "\n")
    (root / "videos.csv").write_text("video,label\na,1\nb,1\nc,0\nd,0\n")
    return root / "out"


def arguments(output: Path, *settings: str) -> list[str]:
    given = [f"labels.train={output.parent}/labels.csv", *settings]
    return ["--debug", f"output={output}", "catalog.enabled=false", "ranking.show=0", *given]


def probabilities(spark: SparkSession, output: Path) -> dict[str, float]:
    return {row["origin"]: row["prob2"] for row in Tables(spark, str(output)).read("predictions").collect()}


def test_train_and_rank_with_context(
    spark: SparkSession, output: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("train", "rank"):
        assert main([name, *arguments(output, "classifier.features=still")]) == 0
    alone = probabilities(spark, output)
    given = arguments(output, "classifier.features=context,still", "classifier.calibration=none")
    for name in ("train", "rank"):
        assert main([name, *given]) == 0
    out = capsys.readouterr().out
    assert "context: used; ROC AUC on left-out groups changes by +0." in out
    saved = saved_model.require_model(f"{output}/model")
    context = Context.of_notes(saved.notes["context"])
    assert context is not None
    card = (output / "model" / "model_card.md").read_text()
    assert "## Context" in card and "Weights of the log-odds around a frame, fitted out of fold: own" in card
    # Labelled frames only, scored with the unlabelled ones around them.
    rows = pq.read_table(saved.labelled_path)
    assert len(rows) == len(TRAINED) * len(range(0, LONG, 3)) and set(rows["weight"].to_pylist()) == {1.0}
    assert saved.notes["cross_validation"]["roc_auc"] == pytest.approx(
        saved.notes["context"]["compared"][1]["roc_auc"], abs=0.05
    )
    model = classifier.load(saved.spark_path)
    features = Tables(spark, str(output)).current("features").toPandas()
    log_odds = np.stack(features["features"]) @ model.coefficients.toArray() + model.intercept
    columns = context_columns(log_odds, features["video"].to_numpy(), features["timestamp_s"].to_numpy())
    expected = 1 / (1 + np.exp(-context.log_odds(columns)))
    found = probabilities(spark, output)
    np.testing.assert_allclose([found[origin] for origin in features["origin"]], expected, rtol=1e-4)
    assert found != alone


def test_context_needs_labels_of_frames(output: Path, capsys: pytest.CaptureFixture) -> None:
    given = arguments(output, "classifier.features=still,context", f"labels.train={output.parent}/videos.csv")
    assert main(["train", *given[1:]]) == 2
    assert "context needs labels by frame or by time, and these are by video" in capsys.readouterr().err


@pytest.mark.parametrize("frames", [200, 50], ids=["labelled frames fit", "not even these"])
def test_context_that_does_not_fit_into_memory(
    frames: int, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(fitting, "_VALUES_IN_MEMORY", frames * fitting._VALUES_OF_STILLS)
    assert main(["train", *arguments(output, "classifier.features=still,context")[1:]]) == 2
    assert "112 labelled frames with those around them are too many" in capsys.readouterr().err
    assert main(["train", *arguments(output, "classifier.features=auto", "evaluation.folds=2")]) == 0
    reason = "112 labelled frames with those around them do not fit into memory"
    assert saved_model.require_model(f"{output}/model").notes["context"]["reason"] == reason
