"""Scores frames with a fitted classifier, and ranks them, the most suspicious first."""

from pyspark.ml import Model
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from framewatch.ranking.calibration import Calibration
from framewatch.ranking.context import COLUMNS, WINDOWS_S, Context
from framewatch.tables.feature_columns import as_vectors, has_vectors, is_finite, require_features
from framewatch.tables.schema import PREDICTIONS, require_columns

_ARRAYS, _LOG_ODDS = "_arrays", "_log_odds"
_SMALLEST = 1e-300  # of probabilities, so that their logarithms are finite
# One task sorts these, narrow rows without pictures and features, in seconds.
_FRAMES_PER_RANGE, _MOST_RANGES = 2_000_000, 100
_FRAMES_PER_FILE = 250_000
_NARROW = ("origin", "video", "frame_index", "timestamp_s", "prob1", "prob2", "prediction", "kind")


def score(features: DataFrame, classifier: Model, *, threshold: float = 0.5) -> DataFrame:
    """Scores frames with a fitted classifier.

    Args:
        features: rows with `features` (array<float> or vector). Rows whose features are null or not finite
            are left out.
        classifier: a binary classifier of Spark ML, such as `train` returns.
        threshold: `prediction` is 1.0 where `prob2` is above this, else 0.0.

    Returns:
        The rows with `probability` (vector), `prob2` (P(suspicious), 0 to 1) and `prediction`.

    Raises:
        SchemaError: `features` is missing or has another type.

    Example:
        >>> scored = score(features, classifier)
        >>> scored.where("prob2 > 0.5").count() == scored.where("prediction = 1").count()
        True
    """
    require_features(features, table="features")
    scored = _transform(classifier, features.where(is_finite(features)))
    return predicted(
        scored.withColumn("prob2", vector_to_array(F.col("probability"))[1]), threshold=threshold
    )


def predicted(scored: DataFrame, *, threshold: float) -> DataFrame:
    """Adds `prediction` to rows with `prob2`: 1.0 where it is above the threshold, else 0.0."""
    return scored.withColumn("prediction", F.when(F.col("prob2") > threshold, 1.0).otherwise(0.0))


def calibrated(scored: DataFrame, calibration: Calibration | None) -> DataFrame:
    """Replaces a classifier's `prob1` and `prob2` by calibrated ones; None leaves them as they are.

    The order of frames by `prob2`, then by `prob1`, stays.
    """
    if calibration is None:
        return scored
    rows = scored.withColumn(_LOG_ODDS, _log_odds())
    return _with_log_odds(rows, _mapped(F.col(_LOG_ODDS), calibration)).drop(_LOG_ODDS)


def in_context(scored: DataFrame, context: Context | None) -> DataFrame:
    """Replaces `prob1` and `prob2` by those in the context of the same video's frames; None keeps them.

    Args:
        scored: narrow rows, which are shuffled, of whole videos: `video`, `timestamp_s`, `prob1`, `prob2`.
        context: the regression.
    """
    if context is None:
        return scored
    time = F.floor(F.col("timestamp_s") * 1000 + 0.5).cast("long")  # as `context.milliseconds`
    order, own = Window.partitionBy("video").orderBy(time), F.col(_LOG_ODDS)
    columns = [own]
    for window_s in WINDOWS_S:
        half = window_s * 1000 // 2
        around, before, after = (
            order.rangeBetween(*ends) for ends in ((-half, half), (-half, -1), (1, half))
        )
        later, sooner = (F.coalesce(F.avg(own).over(side), own) for side in (after, before))
        columns += [F.avg(own).over(around), F.max(own).over(around), later - sooner]
    rows = scored.withColumn(_LOG_ODDS, _log_odds())
    rows = rows.select(
        "*", *(column.alias(f"_{name}") for name, column in zip(COLUMNS, columns, strict=True))
    )
    total = F.lit(context.intercept)
    for name, weight in zip(COLUMNS, context.weights, strict=True):
        total += weight * F.col(f"_{name}")
    return _with_log_odds(rows, total).select(*scored.columns)


def _log_odds() -> Column:
    # Of a probability near 1, the complement has more digits. Neither may be 0.
    one, other = (F.log(F.greatest(F.col(name), F.lit(_SMALLEST))) for name in ("prob2", "prob1"))
    return one - other


def _with_log_odds(rows: DataFrame, log_odds: Column) -> DataFrame:
    """Replaces `prob1` and `prob2` by those of other log-odds."""
    rows = rows.withColumn(_LOG_ODDS, log_odds)
    rows = rows.withColumn("prob2", 1 / (1 + F.exp(-F.col(_LOG_ODDS))))
    return rows.withColumn("prob1", 1 / (1 + F.exp(F.col(_LOG_ODDS))))


def _mapped(log_odds: Column, calibration: Calibration) -> Column:
    """Applies the map by a binary search over its knots, as an expression."""
    knots, values, slope = calibration.log_odds, calibration.calibrated, calibration.slope

    def between(first: int, last: int) -> Column:
        """Returns the map for log-odds from knot `first` to knot `last`; -1 and len(knots) are infinite."""
        if last - first > 1:
            middle = (first + last) // 2
            below = F.when(log_odds < knots[middle], between(first, middle))
            return below.otherwise(between(middle, last))
        if first < 0:
            return F.lit(values[0]) + slope * (log_odds - knots[0])
        if last == len(knots):
            return F.lit(values[-1]) + slope * (log_odds - knots[-1])
        rise = (values[last] - values[first]) / (knots[last] - knots[first])
        # Rounding must not lift the end of a piece above the beginning of the next.
        return F.least(F.lit(values[first]) + rise * (log_odds - knots[first]), F.lit(values[last]))

    return between(-1, len(knots))


def _transform(classifier: Model, features: DataFrame) -> DataFrame:
    """Applies a classifier, which needs vectors; arrays stay arrays."""
    if has_vectors(features.schema):
        return classifier.transform(features)
    rows = features.withColumn(_ARRAYS, F.col("features")).withColumn("features", as_vectors(features))
    scored = classifier.transform(rows)
    added = [name for name in scored.columns if name not in rows.columns]
    kept = [F.col(_ARRAYS).alias(name) if name == "features" else F.col(name) for name in features.columns]
    return scored.select(*kept, *added)


def rank(scored: DataFrame, *, num_frames: int = 0) -> DataFrame:
    """Ranks scored frames: the most suspicious is 1.

    Args:
        scored: what `score` returns, with `origin`, `video`, `frame_index` and `timestamp_s`.
        num_frames: number of rows, if known: many are ranked by several tasks, which takes two more jobs
            when this is called.

    Returns:
        The `predictions` table: one row per frame with `rank`, sorted by video in each partition. Equal
        probabilities are ranked by origin, so that ranks are stable. Without a column `kind`, it is null.

    Raises:
        SchemaError: a column is missing or has another type.

    Example:
        >>> ranked = rank(scored)
        >>> ranked.orderBy("rank").select("rank", "prediction").first()
        Row(rank=1, prediction=1.0)
    """
    wanted = [field for field in PREDICTIONS.fields if field.name not in ("rank", "kind")]
    require_columns(scored, wanted, table="scored features")
    prob1 = vector_to_array(F.col("probability"))[0]
    return rank_scores(scored.withColumn("prob1", prob1), num_frames=num_frames)


def rank_scores(scored: DataFrame, *, num_frames: int = 0) -> DataFrame:
    """Does the same for rows with `prob1` and `prob2` instead of vectors, which are slow to shuffle."""
    if "kind" not in scored.columns:
        scored = scored.withColumn("kind", F.lit(None).cast("string"))
    narrow = scored.select(*_NARROW)
    num_ranges = min(1 + num_frames // _FRAMES_PER_RANGE, _MOST_RANGES)
    numbered = _numbered(narrow, num_ranges)
    num_files = min(1 + num_frames // _FRAMES_PER_FILE, _MOST_RANGES)
    # So that readers of one video skip most row groups. By a hash, as a range would compute the rows twice.
    by_video = numbered.repartition(num_files, "video").sortWithinPartitions("video", "frame_index")
    probability = array_to_vector(F.array("prob1", "prob2")).alias("probability")
    return by_video.select(*(probability if name == "probability" else name for name in PREDICTIONS.names))


def _numbered(scored: DataFrame, num_ranges: int) -> DataFrame:
    """Adds `rank`: within ranges of the probability, each sorted by one task, and the numbers above them."""
    # Near 1, probabilities that differ round to one number, and their complements do not.
    order = [F.col("prob2").desc(), F.col("prob1"), F.col("origin")]
    if num_ranges == 1:
        return scored.withColumn("rank", F.row_number().over(Window.partitionBy(F.lit(1)).orderBy(*order)))
    shares = [number / num_ranges for number in range(1, num_ranges)]
    bounds = F.array(*map(F.lit, scored.approxQuantile("prob2", shares, 0.1 / num_ranges)))
    # The number of bounds that a probability reaches; equal probabilities are in one range.
    ranged = scored.withColumn("range", F.size(F.filter(bounds, lambda bound: F.col("prob2") >= bound)))
    counts = {row["range"]: row["count"] for row in ranged.groupBy("range").count().collect()}
    above = [sum(count for other, count in counts.items() if other > number) for number in range(num_ranges)]
    offset = F.element_at(F.array(*map(F.lit, above)), F.col("range") + 1)
    number = F.row_number().over(Window.partitionBy("range").orderBy(*order))
    return ranged.withColumn("rank", (number + offset).cast("int")).drop("range")
