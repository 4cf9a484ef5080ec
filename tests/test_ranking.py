"""Scores and ranks from a real classifier."""

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import functions as F

from framewatch.errors import InputError, SchemaError
from framewatch.ranking import calibration, classifier, scores
from framewatch.tables.schema import PREDICTIONS


def features_frame(spark, rows):
    columns = (
        "origin string, video string, frame_index int, timestamp_s double, values array<double>, label double"
    )
    df = spark.createDataFrame(rows, columns)
    vector = F.when(F.col("values").isNotNull(), array_to_vector("values"))
    return df.select("origin", "video", "frame_index", "timestamp_s", vector.alias("features"), "label")


@pytest.fixture(scope="module")
def labelled(spark):
    rng = np.random.default_rng(3)
    rows = [
        (
            f"a{k:03d}",
            "v",
            k,
            float(k),
            [float(x) for x in rng.normal(2.0 * (k % 3 == 0), 1, 5)],
            float(k % 3 == 0),
        )
        for k in range(90)
    ]
    return features_frame(spark, rows).cache()


def test_ranks_by_probability_then_origin(spark, labelled) -> None:
    model = classifier.train(labelled, reg_param=0.01)
    same = [(f"same{n}", "w", n, float(n), [0.5] * 5, 0.0) for n in (3, 1, 2)]
    scored = scores.score(labelled.union(features_frame(spark, same)), model, threshold=0.5)
    ranked = scores.rank(scored)
    assert ranked.schema.names == PREDICTIONS.names
    rows = ranked.orderBy("rank").collect()
    assert [row["rank"] for row in rows] == list(range(1, 94))
    assert [(-row["prob2"], row["origin"]) for row in rows] == sorted(
        (-row["prob2"], row["origin"]) for row in rows
    )
    assert all(row["prob2"] == row["probability"][1] for row in rows)
    assert all(row["prediction"] == float(row["prob2"] > 0.5) for row in rows)
    suspicious = {row["origin"] for row in labelled.where("label = 1").collect()}
    assert sum(row["origin"] in suspicious for row in rows[:10]) >= 9


@pytest.mark.parametrize("kind", ["array<float>", "array<double>"])
def test_arrays_give_the_same_as_vectors(kind: str, spark, labelled) -> None:
    arrays = labelled.withColumn("features", vector_to_array("features", "float32").cast(kind))
    vectors = arrays.withColumn("features", array_to_vector("features"))
    models = [classifier.train(rows) for rows in (arrays, vectors)]
    assert models[0].coefficients == models[1].coefficients
    scored = scores.score(arrays, models[0])
    assert dict(scored.dtypes)["features"] == kind and scored.columns[: len(arrays.columns)] == arrays.columns
    pairs = [
        rows.orderBy("origin").select("prob2").collect()
        for rows in (scored, scores.score(vectors, models[1]))
    ]
    assert pairs[0] == pairs[1] and len(pairs[0]) == 90


def test_threshold_decides_the_prediction(labelled) -> None:
    model = classifier.train(labelled)
    assert scores.score(labelled, model, threshold=0.0).where("prediction = 0").count() == 0
    assert scores.score(labelled, model, threshold=1.0).where("prediction = 1").count() == 0


def test_null_features_are_left_out(spark, labelled) -> None:
    model = classifier.train(labelled)
    broken = features_frame(spark, [("broken", "w", 0, 0.0, None, None)])
    assert scores.score(labelled.union(broken), model).count() == 90
    assert classifier.train(labelled.union(broken)).coefficients == model.coefficients


def test_balanced_weights_raise_the_rare_class(labelled) -> None:
    plain = classifier.train(labelled)
    balanced = classifier.train(labelled, class_weights="balanced")
    assert balanced.intercept > plain.intercept
    raised = [scores.score(labelled, model).agg(F.avg("prob2")).first()[0] for model in (plain, balanced)]
    assert raised[1] > raised[0] + 0.02


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibration_in_spark_is_the_map_and_changes_no_rank(kind: str, spark) -> None:
    """Log-odds up to 60: the classifier's probabilities round to 1 there, and calibrated ones too."""
    random = np.random.default_rng(0)
    log_odds = np.append(random.normal(0, 4, 2000), np.linspace(30, 60, 100))
    prob1 = 1 / (1 + np.exp(log_odds))
    prob2, labels = 1 - prob1, (random.random(2100) < 1 / (1 + np.exp(-2 * log_odds))).astype(float)
    found = calibration.fit(prob2, labels, np.arange(2100) % 20, kind)
    rows = [
        (f"o{random.integers(10**9):09d}{n}", "v", n, float(n), float(one), float(two), 0.0)
        for n, (one, two) in enumerate(zip(prob1, prob2, strict=True))
    ]
    columns = "origin string, video string, frame_index int, timestamp_s double, prob1 double, prob2 double, "
    scored = spark.createDataFrame(rows, columns + "prediction double")
    calibrated = scores.calibrated(scored, found)
    assert calibrated.columns == [*scored.columns] and scores.calibrated(scored, None) is scored
    values = [row["prob2"] for row in calibrated.orderBy("frame_index").collect()]
    assert values[:2000] == pytest.approx(found.probabilities(prob2)[:2000].tolist(), abs=1e-12)
    ranks, own = (
        [row["rank"] for row in scores.rank_scores(rows).orderBy("frame_index").collect()]
        for rows in (calibrated, scored)
    )
    assert ranks == own
    assert np.argsort(-log_odds).tolist() == np.argsort(ranks).tolist()


def test_saved_and_loaded_it_scores_the_same(labelled, tmp_path) -> None:
    model = classifier.train(labelled)
    classifier.save(model, str(tmp_path / "m"))
    classifier.save(model, str(tmp_path / "m"))
    loaded = classifier.load(str(tmp_path / "m"))
    pairs = [scores.score(labelled, m).orderBy("origin").select("prob2").collect() for m in (model, loaded)]
    assert pairs[0] == pairs[1]


def test_one_class_and_missing_columns_are_errors(labelled) -> None:
    with pytest.raises(InputError, match="30 of them suspicious"):
        classifier.train(labelled.where("label = 1"))
    with pytest.raises(SchemaError, match=r"lacks the column\(s\) features"):
        scores.score(labelled.drop("features"), None)
    with pytest.raises(SchemaError, match=r"features is string, not array<float> or vector"):
        scores.score(labelled.withColumn("features", F.lit("1")), None)
