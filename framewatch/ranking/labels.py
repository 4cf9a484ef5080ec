"""Hand labels and groups: reads their files from any storage, and joins the labels to frames."""

import functools
import glob
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fsspec.compression import compr
from fsspec.utils import infer_compression
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.ranking import label_join
from framewatch.ranking.csv_table import SHOWN
from framewatch.ranking.groups import Groups, group_of_each, parse_groups
from framewatch.ranking.label_files import Format, Labels, from_ranges, merged, parse_labels
from framewatch.ranking.label_join import JoinedLabels
from framewatch.tables.schema import FEATURES, fields, require_columns

__all__ = [
    "Kind",
    "LabelCounts",
    "Labels",
    "VideoLabelCounts",
    "check_labels",
    "from_ranges",
    "join_labels",
    "join_weak_labels",
    "match_groups",
    "read_groups",
    "read_labels",
    "require_both_classes",
]

Kind = Literal["labels", "groups"]


@dataclass(frozen=True)
class LabelCounts:
    """Counts of a join of labels and frames.

    Attributes:
        labels: number of labels.
        unmatched: labels that match no frame.
        unmatched_examples: some of them, as text, with the closest name.
        labelled_frames: frames with a label.
        suspicious_frames: frames with label 1.
        unlabelled_frames: frames without a label, which training ignores.
        blank_rows: skipped rows without any value.
        kind_overlaps: labels that overlap an earlier one of another kind, which counts.
    """

    labels: int
    unmatched: int
    unmatched_examples: tuple[str, ...]
    labelled_frames: int
    suspicious_frames: int
    unlabelled_frames: int
    blank_rows: int = 0
    kind_overlaps: int = 0

    def __str__(self) -> str:
        text = f"{self.labels} labels, {self._labelled}, {self.unlabelled_frames} frames without a label"
        if self.blank_rows:
            text += f"; {self.blank_rows} blank rows skipped"
        if self.kind_overlaps:
            text += f"; {self.kind_overlaps} labels overlap an earlier one of another kind, which counts"
        if self.unmatched:
            more = "; …" if self.unmatched > len(self.unmatched_examples) else ""
            text += f"; {self.unmatched} labels match no frame: {'; '.join(self.unmatched_examples)}{more}"
        return text

    @property
    def _labelled(self) -> str:
        return f"{self.labelled_frames} labelled frames ({self.suspicious_frames} suspicious)"


@dataclass(frozen=True)
class VideoLabelCounts(LabelCounts):
    """Counts of labels by video.

    Attributes:
        labelled_frames: frames of labelled videos.
        suspicious_frames: frames of videos with label 1, which need not be suspicious themselves.
        labelled_videos: labelled videos that have frames.
        suspicious_videos: those with label 1.
    """

    labelled_videos: int = 0
    suspicious_videos: int = 0

    @property
    def _labelled(self) -> str:
        videos = f"{self.labelled_videos} labelled videos ({self.suspicious_videos} suspicious)"
        return f"{videos} with {self.labelled_frames} frames"


def read_labels(spark: SparkSession, path: str) -> Labels:
    """Reads and checks a label file, or the files of a directory or a glob, from any storage.

    The driver holds all labels: hand labels are few.

    Raises:
        InputError: the file does not exist, matches none of the formats, or has invalid rows.
    """
    contents = _contents(spark, path, "labels")
    return merged({name: parse_labels(data, name) for name, data in contents.items()}, path)


def read_groups(spark: SparkSession, path: str) -> Groups:
    """Reads and checks a file of groups, from wherever `read_labels` reads.

    Raises:
        InputError: the file does not exist, lacks a column, or has invalid rows.
    """
    return parse_groups(_contents(spark, path, "groups"), path)


def check_labels(path: str, *, sees_all: bool, kind: Kind = "labels") -> None:
    """Checks a file of labels or groups in plain Python, before Spark starts.

    Args:
        path: as for `read_labels`.
        sees_all: whether Python can read every file that Spark can, so that a missing file is an error.
        kind: what the file holds.

    Raises:
        InputError: as for `read_labels`.
    """
    found = _read_file(path)
    if isinstance(found, bytes):
        data = _decompressed(found, path, kind)
        parse_labels(data, path) if kind == "labels" else parse_groups({path: data}, path)
    elif sees_all and not glob.glob(storage.local_path(path) or path):
        raise _missing(path, found, kind)


def _contents(spark: SparkSession, path: str, kind: Kind) -> dict[str, bytes]:
    """Returns the contents of the files, read by Python or else by Spark, which has more connectors."""
    found = _read_file(path)
    if isinstance(found, bytes):
        return {path: _decompressed(found, path, kind)}
    try:
        rows = spark.read.format("binaryFile").load(path).select("path", "content").collect()
    except Exception as error:
        if isinstance(error, AnalysisException) and "PATH_NOT_FOUND" not in str(error):
            raise
        rows = []
    if not rows:
        raise _missing(path, found, kind)
    contents = sorted((row["path"], bytes(row["content"])) for row in rows)
    return {name: _decompressed(data, name, kind) for name, data in contents}


def _read_file(path: str) -> bytes | Exception:
    """Returns the bytes of a file; for a directory, a glob or an unreadable file, returns the error."""
    try:
        files, inner = storage.filesystem(path)
        return files.cat_file(inner) if files.info(inner)["type"] == "file" else FileNotFoundError(path)
    except Exception as error:  # each fsspec backend has its own
        return error


def _missing(path: str, problem: Exception, kind: Kind) -> InputError:
    if isinstance(problem, FileNotFoundError):
        key = "labels.train" if kind == "labels" else "labels.groups"
        return InputError(f"{kind} file '{path}' does not exist: give a CSV file, {key}=FILE")
    reason = getattr(problem, "strerror", None) or str(problem).splitlines()[0]
    return InputError(f"{kind} file '{path}' cannot be read ({reason}): check the path and its permissions")


def _decompressed(data: bytes, name: str, kind: Kind) -> bytes:
    compression = infer_compression(name)
    if compression is None:
        return data
    try:
        return bytes(compr[compression](io.BytesIO(data)).read())
    except Exception as error:  # each library has its own
        raise InputError(
            f"{kind} file '{name}' cannot be decompressed as {compression} ({error}): correct its suffix, or "
            "compress it again"
        ) from error


def join_labels(
    frames: DataFrame, labels: Labels | str, *, period_s: float = 1.0
) -> tuple[DataFrame, LabelCounts]:
    """Gives frames their hand labels.

    A label by frame names the end of an `origin`. A label by time names the end of a `video`, with or without
    its suffix, and applies to the frames with start_s <= timestamp_s < end_s. A label by point names a video
    too, and applies to the frame that is shown at this second: the last one at or before it.

    Args:
        frames: rows with `origin`, `video` and `timestamp_s`; one row per origin.
        labels: the path of a CSV file, `video,start_s,end_s,label`, `video,second,label` or
            `ImageName,label`; or labels that have been read.
        period_s: seconds from one frame to the next: how long the last frame of a video is shown.

    Returns:
        The frames that have a label, with a column `label` (0.0 or 1.0), and the counts of both sides. If
        the labels have groups, the column `group` has that of the frame's video, or null. If they have kinds
        of events, the column `kind` has that of the frame, or null.

    Raises:
        SchemaError: a column is missing or has another type.
        InputError: the file is missing or not valid, a name that fits several videos, a frame with both
            labels, a video in two groups, or no match at all; or labels by video, which do not label frames.

    Example:
        >>> labelled, counts = join_labels(features, "labels.csv")
        >>> counts.labelled_frames == labelled.count()
        True
    """
    require_columns(frames, fields(FEATURES, "origin", "video", "timestamp_s"), table="frames")
    labels = read_labels(frames.sparkSession, labels) if isinstance(labels, str) else labels
    if labels.format == "video":
        raise InputError(
            f"{labels.source} has labels by video, which do not show the suspicious frames: give labels by "
            "frame, by time or by point; only training and test labels can be by video"
        )
    labelled, counts = _join(frames, labels, period_s)
    if labels.format == "point":
        labelled = labelled.where("known").drop("known", "distance_s")
    return labelled, counts


def join_weak_labels(frames: DataFrame, labels: Labels, *, period_s: float) -> tuple[DataFrame, LabelCounts]:
    """Does the same as `join_labels` for labels by video or by point, with all frames that they may be of.

    Args:
        frames: as for `join_labels`.
        labels: labels by video or by point.
        period_s: as for `join_labels`.

    Returns:
        The frames of labelled videos, or those near to points, with the `label` of the video or of the
        nearest point; `known`, whether the point is on this frame, false by video; and, by point,
        `distance_s`, the seconds from it. The counts are of videos, or of frames with a point on them.

    Raises:
        InputError: as for `join_labels`, or a video has both labels.
    """
    labelled, counts = _join(frames, labels, period_s)
    if labels.format == "video":
        labelled = labelled.withColumn("known", F.lit(False))
    return labelled, counts


def _join(frames: DataFrame, labels: Labels, period_s: float) -> tuple[DataFrame, LabelCounts]:
    column = "origin" if labels.format == "frame" else "video"
    resolved = label_join.resolve(frames, column, labels)
    ways: dict[Format, Callable[[DataFrame, Labels, Mapping[str, str]], JoinedLabels]] = {
        "frame": label_join.by_frame,
        "time": label_join.by_time,
        "point": functools.partial(label_join.by_point, period_s=period_s),
        "video": label_join.by_video,
    }
    found = ways[labels.format](frames, labels, resolved)
    unknown = [row for row, label in enumerate(labels.rows) if label.name not in resolved]
    unmatched = sorted([*unknown[:SHOWN], *found.empty[:SHOWN]])[:SHOWN]
    examples = label_join.explain_unmatched(frames, column, labels, resolved, unmatched)
    if not found.num_frames:
        row = frames.select(column).first()
        shown = f" ({'; '.join(examples)})" if examples else ""
        raise InputError(
            f"none of the {len(labels.rows)} labels of {labels.source} matches a frame{shown}: write names as"
            f" in the tables, such as {row[column] if row else 'none'}"
        )
    counts = _counts(labels, found)(
        labels=len(labels.rows),
        unmatched=len(unknown) + found.num_empty,
        unmatched_examples=tuple(examples),
        labelled_frames=found.num_frames,
        suspicious_frames=found.num_suspicious,
        unlabelled_frames=frames.count() - found.num_frames,
        blank_rows=labels.blank_rows,
        kind_overlaps=found.kind_overlaps,
    )
    labelled = label_join.small(found.labelled, found.num_frames)
    if "kind" in labelled.columns:
        frames = frames.drop("kind")  # the kind that a classifier has found
    added = [name for name in labelled.columns if name != "origin"]
    labelled = frames.join(labelled, "origin").select(*frames.columns, *added)
    if any(row.group for row in labels.rows):
        group_of = label_join.groups_in_labels(frames, labels, column, resolved)
        labelled = label_join.with_groups(labelled, group_of)
    return labelled, counts


def _counts(labels: Labels, found: JoinedLabels) -> Callable[..., LabelCounts]:
    if labels.format != "video":
        return LabelCounts
    return functools.partial(
        VideoLabelCounts,
        labelled_videos=found.num_videos,
        suspicious_videos=found.num_suspicious_videos,
    )


def match_groups(videos: DataFrame, groups: Groups) -> tuple[dict[str, str], str]:
    """Matches a file of groups to videos, by the rules for names in label files.

    Args:
        videos: rows with `video`.
        groups: the rows of the file.

    Returns:
        The group of each video that the file names, and a summary that counts the rows without a video.

    Raises:
        InputError: a name fits several videos, or a video is in two groups.
    """
    resolved = label_join.resolve(videos, "video", groups)
    named = [
        (resolved[row.name], row.group, groups.row_text(position))
        for position, row in enumerate(groups.rows)
        if row.name in resolved
    ]
    group_of = group_of_each(named, groups.source)
    summary = f"{len(group_of)} videos are in {len(set(group_of.values()))} groups of {groups.source}"
    unmatched = [position for position, row in enumerate(groups.rows) if row.name not in resolved]
    if unmatched:
        shown = label_join.explain_unmatched(videos, "video", groups, resolved, unmatched[:SHOWN])
        more = "; …" if len(unmatched) > SHOWN else ""
        summary += f"; {len(unmatched)} of its rows match no video: {'; '.join(shown)}{more}"
    return group_of, summary


def require_both_classes(counts: LabelCounts) -> None:
    """Checks that both classes have labelled frames.

    Raises:
        InputError: all labels are 0, or all are 1.
    """
    if counts.suspicious_frames in (0, counts.labelled_frames):
        only = 0 if counts.suspicious_frames == 0 else 1
        number, unit = counts.labelled_frames, "frames"
        if isinstance(counts, VideoLabelCounts):
            number, unit = counts.labelled_videos, "videos"
        raise InputError(
            f"all {number} labelled {unit} have label {only}: training needs {unit} of both classes"
        )
