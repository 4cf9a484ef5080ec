"""Kinds of events: a logistic regression for each, against all other kinds and what is not suspicious.

Which frames are suspicious is decided by the two-class classifier. The regressions of kinds take the same
features, and only name what is suspicious. Frames that are suspicious without a kind could be of any kind, so
no regression learns from them.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from framewatch.ranking.cross_validation import by_fold, fold_of_each
from framewatch.ranking.evaluation import RankedLabels
from framewatch.ranking.intervals import Intervals, RankedGroups
from framewatch.ranking.logistic import Logistic, Standardized, balanced, fit_regression
from framewatch.tables.feature_vectors import vectors
from framewatch.tables.schema import FEATURES, SCORES, fields, require_columns

# A kind needs so many labelled frames, and so many groups of videos with such frames.
FEWEST_FRAMES, FEWEST_GROUPS = 2, 2
# The strength of the L2 penalty, where the numbers of each block together have the variance 1.
_PENALTY, _MAX_ITER = 2e-3, 100


@dataclass(frozen=True)
class Kinds:
    """The fitted regressions of kinds.

    Attributes:
        names: the kinds.
        coefficients: (kinds, features) float64.
        intercepts: (kinds,) float64.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    intercepts: np.ndarray

    @staticmethod
    def of_json(content: Mapping[str, Any]) -> "Kinds":
        """Returns the kinds of `to_json`."""
        return Kinds(
            tuple(content["names"]), np.array(content["coefficients"]), np.array(content["intercepts"])
        )

    def to_json(self) -> dict[str, Any]:
        """Returns names and numbers; JSON keeps every digit."""
        return {
            "names": list(self.names),
            "coefficients": self.coefficients.tolist(),
            "intercepts": self.intercepts.tolist(),
        }

    @property
    def content(self) -> bytes:
        """Bytes that differ where names or numbers differ, for the classifier's identity."""
        numbers = np.column_stack([self.coefficients, self.intercepts])
        return "\n".join(self.names).encode() + numbers.astype("<f8").tobytes()

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Returns the log-odds of each kind, (rows, kinds), from (rows, features)."""
        return features @ self.coefficients.T + self.intercepts


@dataclass(frozen=True)
class KindFrames:
    """Labelled frames in memory that have a kind or are not suspicious.

    Attributes:
        features: (frames, features) float64, as the classifier takes them.
        kinds: (frames,) the kind of each frame; an empty string if it is not suspicious.
        weights: (frames,) 0 or more; a frame with weight 0 does not count.
        groups: (frames,) the group of each frame.
        blocks: the columns of each block of features.
    """

    features: np.ndarray
    kinds: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    blocks: Sequence[slice]


def fit_kinds(frames: KindFrames, names: Sequence[str]) -> Kinds:
    """Fits the regression of each of these kinds on all frames."""
    every = np.ones(len(frames.kinds), bool)
    fitted = [_fit(frames, name, every) for name in names]
    coefficients = np.array([one.coefficients for one in fitted])
    return Kinds(tuple(names), coefficients, np.array([one.intercept for one in fitted]))


def _fit(frames: KindFrames, name: str, rows: np.ndarray) -> Logistic:
    """Fits one kind against the other frames, both at equal weight, on some of the rows."""
    features, labels = frames.features[rows], (frames.kinds[rows] == name).astype(float)
    weights = balanced(labels, frames.weights[rows])
    standard = Standardized.of(features, weights)
    # One penalty for all numbers would leave blocks of few numbers without influence.
    scale = standard.scale.copy()
    for columns in frames.blocks:
        scale[columns] /= math.sqrt(max(int(np.count_nonzero(scale[columns])), 1))
    standard = Standardized(standard.mean, scale)
    fitted = fit_regression(
        standard.apply(features),
        labels,
        weights,
        max_iter=_MAX_ITER,
        reg_param=_PENALTY,
        elastic_net_param=0.0,
        standardization=False,
    )
    return standard.restored(fitted)


def left_out_log_odds(frames: KindFrames, name: str, *, folds: int) -> np.ndarray | None:
    """Returns (frames,) the log-odds of a kind, by regressions that were fitted without the frame's group.

    None if no split into folds can both train and test.
    """
    labels = (frames.kinds == name).astype(float)
    fold = fold_of_each(labels, frames.groups.tolist(), folds=folds)
    if fold is None:
        return None
    return by_fold(fold, lambda held_out: _fit(frames, name, ~held_out).log_odds(frames.features[held_out]))


def metrics(frames: KindFrames, name: str, log_odds: np.ndarray) -> dict[str, Any]:
    """Returns how left-out log-odds of a kind rank its frames among the others, with 95% intervals."""
    labels = frames.kinds == name
    order = np.argsort(-log_odds, kind="stable")
    counted = RankedLabels.count(log_odds.tolist(), labels.astype(float).tolist())
    none = np.zeros(len(labels), bool)
    ranked = RankedGroups(log_odds[order], labels[order].astype(float), frames.groups[order], none)
    intervals: Intervals | None = ranked.intervals(precision_at=(), viewed=())
    return {
        "base_rate": counted.base_rate,
        "roc_auc": counted.roc_auc,
        "roc_auc_interval": intervals and intervals.roc_auc,
        "average_precision": counted.average_precision,
        "average_precision_interval": intervals and intervals.average_precision,
    }


def confusion(frames: KindFrames, log_odds: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Returns, for each kind as labelled, how many of its frames get each kind by left-out log-odds."""
    names = list(log_odds)
    named = np.argmax(np.column_stack(list(log_odds.values())), axis=1)
    return [
        {"kind": kind, "named": np.bincount(named[frames.kinds == kind], minlength=len(names)).tolist()}
        for kind in dict.fromkeys(frames.kinds.tolist())
        if kind
    ]


def with_log_odds(scored: DataFrame, kinds: Kinds | None) -> DataFrame:
    """Returns the table `scores` of scored frames with `features`; `kinds` is null without any."""
    names = [name for name in SCORES.names if name != "kinds"]
    if kinds is None:
        return scored.withColumn("kinds", F.lit(None).cast(SCORES["kinds"].dataType)).select(*SCORES.names)
    require_columns(scored, fields(FEATURES, "features"), table="scored features")
    work = functools.partial(
        _add_log_odds, coefficients=kinds.coefficients.astype(np.float32), intercepts=kinds.intercepts
    )
    return scored.select(*names, "features").mapInArrow(work, SCORES)


def _add_log_odds(
    batches: Iterator[pa.RecordBatch], *, coefficients: np.ndarray, intercepts: np.ndarray
) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(SCORES)
    for batch in batches:
        features, valid = vectors(batch.column("features"))
        assert valid.all()  # frames without features have no score
        values = (features.reshape(len(valid), -1) @ coefficients.T + intercepts).astype(np.float32)
        ends = np.arange(len(valid) + 1, dtype=np.int32) * len(coefficients)
        lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(values.ravel()))
        columns = [lists if field.name == "kinds" else batch.column(field.name) for field in schema]
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
        )


def with_best(scored: DataFrame, names: Sequence[str]) -> DataFrame:
    """Adds `kind` to rows of `scores`: the kind with the highest log-odds; null without names."""
    require_columns(scored, fields(SCORES, "kinds"), table="scores")
    return scored.withColumn("kind", best_of(F.col("kinds"), names))


def best_of(log_odds: Column, names: Sequence[str]) -> Column:
    """Returns the kind with the highest of log-odds, an array in the order of `names`; null stays null."""
    if not names:
        return F.lit(None).cast("string")
    # Spark 3.5 has no `array_position` of a column. Of equal log-odds, the first kind counts.
    numbered = F.transform(
        log_odds, lambda value, place: F.struct(value.alias("value"), (-place).alias("place"))
    )
    place = F.lit(1) - F.array_max(numbered)["place"]
    return F.when(log_odds.isNotNull(), F.element_at(F.array(*map(F.lit, names)), place))
