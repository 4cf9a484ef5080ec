"""Hand labels: read the CSV, check it, join it to frames.

Two formats, each with a header: `ImageName,label` (a frame's name, as in 2018) and
`video,start_s,end_s,label` (a half-open range of seconds). A label is 0 or 1; 1 is suspicious.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.schema import FEATURES, fields, require_columns

_BY_FRAME = ["ImageName", "label"]
_BY_TIME = ["video", "start_s", "end_s", "label"]
_LABELS = "row string, key string, start_s double, end_s double, label double"
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
    """Reads and checks a label file. Its rows come to the driver: what people label by hand is small.

    Returns:
        `row` (the line as text), `key` (its name of a frame or video), `start_s`, `end_s` (null for labels of
        one frame), `label` (0.0 or 1.0).

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
            picked = raw.select(*[F.col(f"`{columns[name.lower()]}`").alias(name) for name in names])
            return spark.createDataFrame(_checked([row.asDict() for row in picked.collect()], path), _LABELS)
    raise InputError(
        f"labels file '{path}' has the columns {', '.join(raw.columns) or 'none'}: it must have "
        f"{','.join(_BY_FRAME)} or {','.join(_BY_TIME)}"
    )


def from_ranges(spark: SparkSession, ranges: Iterable[tuple[str, float, float, int]]) -> DataFrame:
    """Labels by time as `read_labels` gives them, of (video, start_s, end_s, label)."""
    rows = [(",".join(map(str, row)), row[0], float(row[1]), float(row[2]), float(row[3])) for row in ranges]
    return spark.createDataFrame(rows, _LABELS)


def _checked(rows: list[dict[str, str | None]], path: str) -> list[tuple[Any, ...]]:
    """The rows of `read_labels`, each with a name, a label of 0 or 1, and a range that has a length."""
    parsed = []
    for row in rows:
        start_s, end_s, label = (_number(row.get(name)) for name in ("start_s", "end_s", "label"))
        key = row["video"] if "video" in row else row["ImageName"]
        parsed.append((",".join(value or "" for value in row.values()), key, start_s, end_s, label))
    has = f"labels file '{path}' has"
    by_time = bool(rows) and "video" in rows[0]
    _refuse(
        [r[0] for r in parsed if not r[1]], f"{has} rows without a name", "name each row's frame or video"
    )
    _refuse(
        [r[0] for r in parsed if r[4] not in (0, 1)],
        f"{has} labels other than 0 and 1",
        "use 1 for suspicious",
    )
    bad = [r[0] for r in parsed if by_time and not (r[2] is not None and r[3] is not None and r[2] < r[3])]
    _refuse(bad, f"{has} bad ranges", "give seconds, start_s below end_s")
    return parsed


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _refuse(rows: Iterable[str], problem: str, remedy: str) -> None:
    shown = sorted(set(rows))
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
    matches = _match(frames, labels).collect()
    _refuse_ambiguous(matches)
    by_origin = _one_label_each(matches)
    rows = [row["row"] for row in labels.select("row").collect()]
    unmatched = sorted(set(rows) - {match["row"] for match in matches})
    if not by_origin:
        names = ", ".join(unmatched[:_SHOWN])
        raise InputError(
            f"none of the {len(rows)} labels matches a frame (labels: {names}; frames: "
            f"{_example_origin(frames)}): name frames or videos as the tables do"
        )
    counts = LabelCounts(
        labels=len(rows),
        unmatched=sum(row in set(unmatched) for row in rows),
        unmatched_examples=tuple(unmatched[:_SHOWN]),
        labelled_frames=len(by_origin),
        suspicious_frames=int(sum(by_origin.values())),
        unlabelled_frames=frames.count() - len(by_origin),
    )
    labelled = frames.sparkSession.createDataFrame(list(by_origin.items()), "origin string, label double")
    return frames.join(F.broadcast(labelled), "origin").select(*frames.columns, "label"), counts


def _refuse_ambiguous(matches: Sequence[Row]) -> None:
    videos = defaultdict(set)
    for match in matches:
        videos[match["row"]].add(match["video"])
    several = [row for row, found in videos.items() if len(found) > 1]
    _refuse(
        several, "labels fit frames of several videos", "write more of the path, such as camera1/Walk1.mpg"
    )


def _one_label_each(matches: Sequence[Row]) -> dict[str, float]:
    labels = defaultdict(set)
    for match in matches:
        labels[match["origin"]].add(match["label"])
    both = [match["row"] for match in matches if len(labels[match["origin"]]) > 1]
    _refuse(both, "labels contradict each other", "keep one label a frame")
    return {origin: found.pop() for origin, found in labels.items()}


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
    stems = F.array(_stem(F.col("origin")), _stem(F.col("video")))
    named = frames.select("origin", "video", "timestamp_s", F.explode(stems).alias("stem"))
    keyed = labels.withColumn("stem", _stem(F.col("key")))
    in_range = (F.col("timestamp_s") >= F.col("start_s")) & (F.col("timestamp_s") < F.col("end_s"))
    fits_video = _ends_with_key(F.col("video")) | _ends_with_key(F.regexp_replace("video", r"\.[^./]*$", ""))
    by_time = F.col("start_s").isNotNull()
    fits = F.when(by_time, in_range & fits_video).otherwise(_ends_with_key(F.col("origin")))
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


def _example_origin(frames: DataFrame) -> str:
    row = frames.select("origin").first()
    return row["origin"] if row else "none"
