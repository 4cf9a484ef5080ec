"""Hand labels: read the CSV, check it, join it to frames.

Two formats, each with a header: `ImageName,label` (a frame's name, as in 2018) and
`video,start_s,end_s,label` (a half-open range of seconds). A label is 0 or 1; 1 is suspicious.
"""

from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.schema import FEATURES, fields, require_columns

_BY_FRAME = ["ImageName", "label"]
_BY_TIME = ["video", "start_s", "end_s", "label"]
_SHOWN = 5


@dataclass(frozen=True)
class LabelCounts:
    """How labels and frames met.

    Attributes:
        labels: rows of the file.
        unmatched: rows that match no frame.
        unmatched_examples: some of them, as text.
        labelled_frames: frames with a label.
        suspicious_frames: frames whose label is 1.
        unlabelled_frames: frames without a label, left out of training.
    """

    labels: int
    unmatched: int
    unmatched_examples: tuple[str, ...]
    labelled_frames: int
    suspicious_frames: int
    unlabelled_frames: int

    def __str__(self) -> str:
        text = (
            f"{self.labels} labels, {self.labelled_frames} labelled frames ({self.suspicious_frames} "
            f"suspicious), {self.unlabelled_frames} frames without a label"
        )
        if self.unmatched:
            more = ", …" if self.unmatched > _SHOWN else ""
            text += f"; {self.unmatched} labels match no frame: {', '.join(self.unmatched_examples)}{more}"
        return text


def read_labels(spark: SparkSession, path: str) -> DataFrame:
    """Reads and checks a label file.

    Returns:
        `row` (the line as text), `key` (its name of a frame or video), `start_s`, `end_s`, `label` (0.0 or
        1.0), and `by_time`, which is false for labels of one frame.

    Raises:
        InputError: no such file, columns of neither format, or rows that are not valid; names the rows.
    """
    try:
        raw = spark.read.csv(path, header=True, ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
    except AnalysisException as error:
        if "PATH_NOT_FOUND" not in str(error):
            raise
        raise InputError(
            f"labels file '{path}' does not exist: give a CSV file, labels.train=FILE"
        ) from error
    columns = {name.strip("\ufeff").lower(): name for name in raw.columns}
    for names in (_BY_TIME, _BY_FRAME):
        if all(name.lower() in columns for name in names):
            labels = _typed(raw.select(*[F.col(f"`{columns[name.lower()]}`").alias(name) for name in names]))
            _check_rows(labels, path)
            return labels
    raise InputError(
        f"labels file '{path}' has the columns {', '.join(raw.columns) or 'none'}: it must have "
        f"{','.join(_BY_FRAME)} or {','.join(_BY_TIME)}"
    )


def _typed(raw: DataFrame) -> DataFrame:
    by_time = "video" in raw.columns
    row = F.concat_ws(",", *[F.coalesce(F.col(name), F.lit("")) for name in raw.columns])
    # try_cast: what is no number becomes null, and is reported with its row.
    number = {
        name: f"try_cast({name} as double)" if by_time else "cast(null as double)" for name in _BY_TIME[1:3]
    }
    return raw.select(
        row.alias("row"),
        F.col(raw.columns[0]).alias("key"),
        F.expr(number["start_s"]).alias("start_s"),
        F.expr(number["end_s"]).alias("end_s"),
        F.expr("try_cast(label as double)").alias("label"),
        F.lit(by_time).alias("by_time"),
    )


def _check_rows(labels: DataFrame, path: str) -> None:
    bad_label = F.col("label").isNull() | ~F.col("label").isin(0.0, 1.0)
    bad_range = F.col("start_s").isNull() | F.col("end_s").isNull() | (F.col("start_s") >= F.col("end_s"))
    has = f"labels file '{path}' has"
    _refuse(
        labels.where(F.col("key").isNull()), f"{has} rows without a name", "name each row's frame or video"
    )
    _refuse(labels.where(bad_label), f"{has} labels other than 0 and 1", "use 1 for suspicious, 0 for not")
    _refuse(
        labels.where(F.col("by_time") & bad_range), f"{has} bad ranges", "give seconds, start_s below end_s"
    )


def _refuse(rows: DataFrame, problem: str, remedy: str) -> None:
    shown = [row["row"] for row in rows.select("row").distinct().orderBy("row").limit(_SHOWN + 1).collect()]
    if shown:
        more = "; …" if len(shown) > _SHOWN else ""
        raise InputError(f"{problem}: {'; '.join(shown[:_SHOWN])}{more}: {remedy}")


def join_labels(frames: DataFrame, labels: DataFrame) -> tuple[DataFrame, LabelCounts]:
    """Gives frames their labels.

    A frame's label names the end of its `origin`; a range names the end of its `video`, with or without the
    extension, and holds the frames with start_s <= timestamp_s < end_s.

    Args:
        frames: rows of `frames` or `features`; one row an origin.
        labels: rows of `read_labels`.

    Returns:
        The frames that have a label, with a column `label` (double), and the counts.

    Raises:
        InputError: a name that fits several videos, a frame with both labels, or no match at all.
    """
    require_columns(frames, fields(FEATURES, "origin", "video", "timestamp_s"), table="frames")
    matches = _match(frames, labels)
    ambiguous = matches.groupBy("row").agg(F.countDistinct("video").alias("videos")).where("videos > 1")
    _refuse(
        ambiguous, "labels fit frames of several videos", "write more of the path, such as camera1/Walk1.mpg"
    )
    both = matches.groupBy("origin").agg(F.countDistinct("label").alias("labels")).where("labels > 1")
    _refuse(
        matches.join(both, "origin", "left_semi"), "labels contradict each other", "keep one label a frame"
    )
    counts = _count(frames, labels, matches)
    if counts.labelled_frames == 0:
        names = ", ".join(counts.unmatched_examples)
        raise InputError(
            f"none of the {counts.labels} labels matches a frame (labels: {names}; frames: "
            f"{_example_origin(frames)}): name frames or videos as the tables do"
        )
    by_origin = matches.select("origin", "label").dropDuplicates(["origin"])
    return frames.join(by_origin, "origin").select(*frames.columns, "label"), counts


def require_both_classes(counts: LabelCounts) -> None:
    """Checks that there is something to tell apart.

    Raises:
        InputError: all labels are 0, or all are 1.
    """
    if counts.suspicious_frames in (0, counts.labelled_frames):
        only = 0 if counts.suspicious_frames == 0 else 1
        raise InputError(
            f"all {counts.labelled_frames} labelled frames have label {only}: training needs frames of both "
            "classes"
        )


def _match(frames: DataFrame, labels: DataFrame) -> DataFrame:
    """Pairs of a frame and a label row that names it: `origin`, `video`, `row`, `label`."""
    stem_of = {"frame": _stem(F.col("origin")), "time": _stem(F.col("video"))}
    named = frames.select(
        "origin", "video", "timestamp_s", F.explode(F.array(*stem_of.values())).alias("stem")
    )
    keyed = labels.withColumn("stem", _stem(F.col("key")))
    in_range = (F.col("timestamp_s") >= F.col("start_s")) & (F.col("timestamp_s") < F.col("end_s"))
    fits_video = _ends_with_key(F.col("video")) | _ends_with_key(F.regexp_replace("video", r"\.[^./]*$", ""))
    fits = F.when(F.col("by_time"), in_range & fits_video).otherwise(_ends_with_key(F.col("origin")))
    return (
        named.join(F.broadcast(keyed), "stem")
        .where(fits)
        .select("origin", "video", "row", "label")
        .distinct()
    )


def _stem(path: Column) -> Column:
    return F.regexp_replace(F.substring_index(path, "/", -1), r"\.[^.]*$", "")


def _ends_with_key(path: Column) -> Column:
    return (path == F.col("key")) | path.endswith(F.concat(F.lit("/"), F.col("key")))


def _count(frames: DataFrame, labels: DataFrame, matches: DataFrame) -> LabelCounts:
    unmatched = labels.join(matches.select("row").distinct(), "row", "left_anti")
    labelled = matches.groupBy("origin").agg(F.max("label").alias("label"))
    totals = labelled.agg(F.count("*").alias("all"), F.sum("label").alias("suspicious")).first()
    assert totals is not None
    return LabelCounts(
        labels=labels.count(),
        unmatched=unmatched.count(),
        unmatched_examples=tuple(
            row["row"] for row in unmatched.select("row").orderBy("row").limit(_SHOWN).collect()
        ),
        labelled_frames=int(totals["all"]),
        suspicious_frames=int(totals["suspicious"] or 0),
        unlabelled_frames=frames.count() - int(totals["all"]),
    )


def _example_origin(frames: DataFrame) -> str:
    row = frames.select("origin").first()
    return row["origin"] if row else "none"
