"""Fits, saves and loads the logistic regression on features."""

import hashlib
from typing import Literal

import numpy as np
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.linalg import DenseMatrix, Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField

from framewatch.errors import InputError
from framewatch.ranking import logistic
from framewatch.ranking.kinds import Kinds
from framewatch.tables.feature_columns import as_vectors, is_finite, require_features
from framewatch.tables.schema import require_columns

_WEIGHT = "_weight"
_ROWS_PER_TASK = 2000


def train(
    labelled: DataFrame,
    *,
    max_iter: int = 20,
    reg_param: float = 0.05,
    elastic_net_param: float = 0.3,
    standardization: bool = True,
    class_weights: Literal["none", "balanced"] = "none",
) -> LogisticRegressionModel:
    """Fits Spark's logistic regression, P(suspicious | features).

    The defaults are those of the 2018 notebooks.

    Args:
        labelled: rows with `features` (array<float> or vector), `label` (0.0 or 1.0), and perhaps `weight`;
            without one, all rows count alike. Rows whose features are null or not finite are left out.
        max_iter: iterations at most.
        reg_param: strength of the penalty.
        elastic_net_param: 0 for an L2 penalty, 1 for L1.
        standardization: whether to scale each feature to unit deviation before the penalty.
        class_weights: `balanced` weights rows so that both classes count equally.

    Returns:
        The fitted model, an ordinary stage of Spark ML.

    Raises:
        SchemaError: a column is missing or has another type.
        InputError: only one class is left.

    Example:
        >>> classifier = train(labelled, reg_param=0.01)
        >>> classifier.numClasses
        2
    """
    require_features(labelled, table="labelled")
    require_columns(labelled, [StructField("label", DoubleType())], table="labelled")
    rows, num_rows = _weighted(labelled, balanced=class_weights == "balanced")
    regression = LogisticRegression(
        maxIter=max_iter,
        regParam=reg_param,
        elasticNetParam=elastic_net_param,
        standardization=standardization,
        labelCol="label",
        weightCol=_WEIGHT,
    )
    # Each iteration is a Spark job; with few rows, the overhead of its tasks dominates.
    return regression.fit(rows.coalesce(1 + num_rows // _ROWS_PER_TASK))


def with_coefficients(spark: SparkSession, fitted: logistic.Logistic) -> LogisticRegressionModel:
    """Returns Spark's model with these coefficients.

    Spark makes none without a fit: here of three rows, under bounds that leave no other solution. All
    features have the deviation 1, so that Spark scales nothing.
    """
    length = len(fitted.coefficients)
    rows = [(float(value > 0), Vectors.dense(np.full(length, value))) for value in (-1.0, 0.0, 1.0)]
    coefficients, intercept = DenseMatrix(1, length, fitted.coefficients), Vectors.dense(fitted.intercept)
    bounded = LogisticRegression(
        maxIter=0,
        standardization=False,
        lowerBoundsOnCoefficients=coefficients,
        upperBoundsOnCoefficients=coefficients,
        lowerBoundsOnIntercepts=intercept,
        upperBoundsOnIntercepts=intercept,
    )
    return bounded.fit(spark.createDataFrame(rows, ["label", "features"]).coalesce(1))


def fit_in_memory(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    max_iter: int = 20,
    reg_param: float = 0.05,
    elastic_net_param: float = 0.3,
    standardization: bool = True,
    class_weights: Literal["none", "balanced"] = "none",
) -> logistic.Logistic:
    """Does the same as `train` with arrays, by `fit_regression`. Rows with weight 0 do not count."""
    if class_weights == "balanced":
        weights = logistic.balanced(labels, weights)
    return logistic.fit_regression(
        features,
        labels,
        weights,
        max_iter=max_iter,
        reg_param=reg_param,
        elastic_net_param=elastic_net_param,
        standardization=standardization,
    )


def _weighted(labelled: DataFrame, *, balanced: bool) -> tuple[DataFrame, int]:
    """Checks that both classes are there; returns the rows to fit on, with their weight, and their number."""
    weight = F.col("weight") if "weight" in labelled.columns else F.lit(1.0)
    usable = labelled.where(is_finite(labelled))
    rows = usable.select(as_vectors(labelled), "label", weight.alias(_WEIGHT))
    of_ones = F.sum(F.when(F.col("label") == 1.0, F.col(_WEIGHT)))
    totals = rows.agg(
        F.count("*").alias("all"),
        F.sum("label").alias("ones"),
        F.sum(_WEIGHT).alias("weight"),
        of_ones.alias("weight_of_ones"),
    ).first()
    assert totals is not None
    num_rows, num_ones = int(totals["all"]), int(totals["ones"] or 0)
    if num_ones in (0, num_rows):
        raise InputError(
            f"{num_rows} labelled frames, {num_ones} of them suspicious: training needs both classes"
        )
    if balanced:
        # Half of the weight to each class, as scikit-learn's "balanced" has it.
        half, ones = totals["weight"] / 2, totals["weight_of_ones"]
        share = F.when(F.col("label") == 1.0, half / ones).otherwise(half / (totals["weight"] - ones))
        rows = rows.withColumn(_WEIGHT, F.col(_WEIGHT) * share)
    return rows, num_rows


def identity(model: LogisticRegressionModel, kinds: Kinds | None = None) -> str:
    """Returns twelve hexadecimal digits of the SHA-256 of the coefficients and the intercept.

    Args:
        model: the classifier.
        kinds: the kinds that it names, which are part of what is hashed.
    """
    numbers = np.append(model.coefficients.toArray(), model.intercept)
    content = numbers.astype("<f8").tobytes() + (kinds.content if kinds else b"")
    return hashlib.sha256(content).hexdigest()[:12]


def save(model: LogisticRegressionModel, path: str) -> None:
    """Writes the Spark ML model, replacing an existing one."""
    model.write().overwrite().save(path)


def load(path: str) -> LogisticRegressionModel:
    """Reads a model written by `save`."""
    return LogisticRegressionModel.load(path)
