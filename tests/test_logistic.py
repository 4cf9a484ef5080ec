"""The logistic regression in memory gives the coefficients of Spark ML's."""

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession

from framewatch.ranking import classifier


@pytest.mark.parametrize(
    ("elastic_net_param", "reg_param", "standardization", "class_weights"),
    [
        (0.3, 0.05, True, "none"),
        (0.3, 0.05, False, "balanced"),
        (0.0, 0.05, True, "none"),
        (1.0, 0.0, True, "none"),
    ],
)
def test_coefficients_are_those_of_a_fit_by_spark(
    spark: SparkSession, elastic_net_param: float, reg_param: float, standardization: bool, class_weights: str
) -> None:
    random = np.random.default_rng(0)
    features = random.exponential(random.exponential(1, 80), (150, 80)) * (random.random((150, 80)) > 0.3)
    features[:, 5], features[:, 6] = 0.0, 0.1  # constant features have no deviation
    labels = (features[:, :5] @ random.normal(size=5) + random.normal(size=150) > 0).astype(float)
    weights = random.choice([0.0, 1.0, 3.0], 150)
    rows = [
        (values.tolist(), float(label), float(weight))
        for values, label, weight in zip(features, labels, weights, strict=True)
        if weight  # a row without weight does not count
    ]
    frame = spark.createDataFrame(rows, "numbers array<double>, label double, weight double").coalesce(1)
    settings = {
        "max_iter": 20,
        "reg_param": reg_param,
        "elastic_net_param": elastic_net_param,
        "standardization": standardization,
        "class_weights": class_weights,
    }
    by_spark = classifier.train(frame.withColumn("features", array_to_vector("numbers")), **settings)
    found = classifier.fit_in_memory(features, labels, weights, **settings)
    np.testing.assert_allclose(found.coefficients, by_spark.coefficients.toArray(), rtol=0, atol=1e-6)
    assert found.intercept == pytest.approx(by_spark.intercept, abs=1e-6)
