"""Matches labels to frames: resolves names to videos or frames, and ranges and points of time to frames."""

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BooleanType, StringType, StructField, StructType

from framewatch.errors import InputError
from framewatch.ranking import label_kinds, label_names, weak_labels
from framewatch.ranking.csv_table import SHOWN
from framewatch.ranking.groups import Groups, group_of_each
from framewatch.ranking.label_files import Labels
from framewatch.spark.arrow import to_arrow
from framewatch.video.suffixes import VIDEO_SUFFIXES

_ENDS = StructType(
    [
        StructField("name", StringType()),
        StructField("whole", BooleanType()),
        *(StructField(form, StringType()) for form in label_names.Forms._fields),
    ]
)
_KEYS = "key int, written string, key_exact string, key_composed string, caseless string"
_RANGES = "position int, video string, start_s double, end_s double, label int, kind int"
# The position and the label of ranges that only name a kind.
_KIND = -1
# Suffixes that a name in a label file may omit.
_SUFFIXES = {"video": VIDEO_SUFFIXES, "origin": ("jpg",)}
# A table with more rows is shuffled instead of broadcast.
_BROADCAST_ROWS = 200_000
# Up to this many paths are compared with the labels on the driver.
_PATHS_HERE = 10_000
# Ranges around points are half-open; this takes in frames on their edges.
_EDGE_S = 1e-3


@dataclass(frozen=True)
class JoinedLabels:
    """Frames with a label.

    Attributes:
        labelled: columns `origin` and `label`; if the labels have kinds also `kind`, null without one; by
            point also `known`, whether the point is on the frame, and `distance_s`, the seconds from the
            nearest point.
        num_frames: number of labelled frames: of rows of `labelled`, by point of those that are known.
        num_suspicious: number of labelled frames with label 1.
        num_empty: number of ranges that contain no frame of their video, and of points outside their video.
        empty: positions of the first of them.
        kind_overlaps: number of labels that overlap an earlier one of another kind, which counts.
        num_videos: by video, the number of labelled videos; else 0.
        num_suspicious_videos: by video, the number of those with label 1; else 0.
    """

    labelled: DataFrame
    num_frames: int
    num_suspicious: int
    num_empty: int = 0
    empty: Sequence[int] = ()
    kind_overlaps: int = 0
    num_videos: int = 0
    num_suspicious_videos: int = 0


def small(rows: DataFrame, number: int) -> DataFrame:
    """Marks rows for a broadcast join unless there are too many."""
    return F.broadcast(rows) if number <= _BROADCAST_ROWS else rows


def resolve(frames: DataFrame, column: str, labels: Labels | Groups) -> dict[str, str]:
    """Returns the value of `column` (`video` or `origin`) that each name in the rows stands for.

    If a name matches several values, the strictest match wins: first the whole name, then the name without
    suffix, and last a name that differs in case.

    Raises:
        InputError: a name matches several values equally well.
    """
    names = list(dict.fromkeys(labels.names))
    trimmed = [label_names.trimmed(name) for name in names]
    keys = [(key, name, *label_names.forms(trimmed[key])) for key, name in enumerate(names)]
    keyed = small(frames.sparkSession.createDataFrame(keys, _KEYS), len(keys))
    pairs = _ends(frames, column, {label_names.depth(name) for name in trimmed}).join(keyed, "caseless")
    exact, composed = F.col("exact") == F.col("key_exact"), F.col("composed") == F.col("key_composed")
    looseness = (
        F.when(F.col("name") == F.col("written"), 0)
        .when(F.col("whole"), F.when(exact, 1).when(composed, 2).otherwise(5))
        .otherwise(F.when(exact, 3).when(composed, 4).otherwise(6))
    )
    fits = pairs.groupBy("key", looseness.alias("looseness"))
    best: dict[str, Any] = {}
    for row in fits.agg(F.min("name").alias("first"), F.max("name").alias("last")).collect():
        name = names[row["key"]]
        if name not in best or row["looseness"] < best[name]["looseness"]:
            best[name] = row
    _check_unambiguous(
        labels, column, {name: row for name, row in best.items() if row["first"] != row["last"]}
    )
    return {name: row["first"] for name, row in best.items()}


def _check_unambiguous(labels: Labels | Groups, column: str, ambiguous: Mapping[str, Any]) -> None:
    rows = [row for row, name in enumerate(labels.names) if name in ambiguous]
    if not rows:
        return
    shown = []
    for row in rows[:SHOWN]:
        fit = ambiguous[labels.rows[row].name]
        shown.append(f"{labels.row_text(row)} matches {fit['first']} and {fit['last']}")
    more = f"; and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    raise InputError(
        f"names in {labels.source} match several {column}s: {'; '.join(shown)}{more}: write the whole name, "
        "or more of the path, such as camera1/Walk1.mpg"
    )


def _check_consistent(
    labels: Labels, clashes: Sequence[tuple[int, int]], number: int, *, unit: str = "frame"
) -> None:
    if clashes:
        shown = [f"{labels.row_text(one)} and {labels.row_text(other)}" for one, other in clashes]
        raise InputError(
            f"labels of {labels.source} contradict each other in {number} {unit}(s): {'; '.join(shown)}: "
            f"keep one label per {unit}"
        )


def _ends(frames: DataFrame, column: str, depths: Collection[int]) -> DataFrame:
    """Returns the endings of all paths in `column` that can match names with these numbers of components."""
    paths = frames.select(column).distinct()
    few = paths.limit(_PATHS_HERE + 1).collect()
    if len(few) <= _PATHS_HERE:  # sooner done here than a Python worker starts
        rows = _ends_of((row[0] for row in few), depths, _SUFFIXES[column])
        return frames.sparkSession.createDataFrame(rows, _ENDS)
    work = functools.partial(_ends_of_batches, depths=depths, suffixes=_SUFFIXES[column])
    return paths.mapInArrow(work, _ENDS)


def _ends_of(
    paths: Iterable[str], depths: Collection[int], suffixes: Collection[str]
) -> list[tuple[Any, ...]]:
    return [
        (path, whole, *forms) for path in paths for whole, forms in label_names.ends(path, depths, suffixes)
    ]


def _ends_of_batches(
    batches: Iterator[pa.RecordBatch], *, depths: Collection[int], suffixes: Collection[str]
) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(_ENDS)
    for batch in batches:
        rows = _ends_of(batch.column(0).to_pylist(), depths, suffixes)
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        arrays = [pa.array(list(values), field.type) for values, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def with_groups(rows: DataFrame, group_of: Mapping[str, str]) -> DataFrame:
    """Adds `group`, the group of the row's `video`; null if it has none."""
    groups = rows.sparkSession.createDataFrame(list(group_of.items()), "video string, group string")
    joined = rows.join(small(groups, len(group_of)), "video", "left")
    return joined.select(*rows.columns, "group")


def groups_in_labels(
    frames: DataFrame, labels: Labels, column: str, resolved: Mapping[str, str]
) -> dict[str, str]:
    """Returns the group of each video for which the labels name one.

    Raises:
        InputError: a video is in two groups.
    """
    named = [
        (resolved[row.name], row.group, position)
        for position, row in enumerate(labels.rows)
        if row.group and row.name in resolved
    ]
    video_of = {value: value for value, _, _ in named}
    if column == "origin" and named:
        origins = frames.sparkSession.createDataFrame([(value,) for value in video_of], "origin string")
        rows = frames.join(small(origins, len(video_of)), "origin").select("origin", "video").collect()
        video_of = {row["origin"]: row["video"] for row in rows}
    rows_of = ((video_of[value], group, labels.row_text(position)) for value, group, position in named)
    return group_of_each(rows_of, labels.source)


def _one_label_each(
    labels: Labels, resolved: Mapping[str, str], *, unit: str
) -> tuple[list[tuple[str, float, str | None]], int]:
    """Returns each frame or video that rows name, with its label and the first of its kinds.

    Returns:
        The rows, and the number of rows of another kind than an earlier row.

    Raises:
        InputError: one has both labels.
    """
    first: dict[str, int] = {}
    kinds: dict[str, str] = {}
    clashes = []
    kind_overlaps = 0
    for position, row in enumerate(labels.rows):
        name = resolved.get(row.name)
        if name is None:
            continue
        earlier = first.setdefault(name, position)
        if labels.rows[earlier].label != row.label:
            clashes.append((earlier, position))
        if row.kind:
            kind_overlaps += kinds.setdefault(name, row.kind) != row.kind
    _check_consistent(labels, clashes[:SHOWN], len({earlier for earlier, _ in clashes}), unit=unit)
    rows = [(name, float(labels.rows[place].label), kinds.get(name)) for name, place in first.items()]
    return rows, kind_overlaps


def by_frame(frames: DataFrame, labels: Labels, resolved: Mapping[str, str]) -> JoinedLabels:
    """Joins frames with labels by name.

    Raises:
        InputError: a frame has both labels.
    """
    rows, kind_overlaps = _one_label_each(labels, resolved, unit="frame")
    labelled = frames.sparkSession.createDataFrame(rows, "origin string, label double, kind string")
    if not labels.kinds:
        labelled = labelled.drop("kind")
    suspicious = sum(label == 1 for _, label, _ in rows)
    return JoinedLabels(labelled, len(rows), suspicious, kind_overlaps=kind_overlaps)


def by_time(frames: DataFrame, labels: Labels, resolved: Mapping[str, str]) -> JoinedLabels:
    """Joins frames with labels by ranges of time.

    Sweeps once over each video in order of time, with a counter that each range increments at its start and
    decrements at its end, so that ranges and frames are never compared in pairs.

    Raises:
        InputError: a frame has both labels.
    """
    number_of = {kind: number for number, kind in enumerate(labels.kinds, start=1)}
    rows: list[tuple[Any, ...]] = [
        (position, resolved[row.name], row.start_s, row.end_s, row.label, number_of.get(row.kind or "", 0))
        for position, row in enumerate(labels.rows)
        if row.name in resolved
    ]
    of_kinds, kind_overlaps = label_kinds.disjoint((*row[:4], row[5]) for row in rows)
    rows = [(*row[:5], 0) for row in rows] + [(_KIND, *row[:3], _KIND, row[3]) for row in of_kinds]
    ranges = frames.sparkSession.createDataFrame(rows, _RANGES)
    swept = _sweep(frames, ranges, len(rows))
    is_frame, has_both = F.col("origin").isNotNull(), (F.col("normal") > 0) & (F.col("suspicious") > 0)
    # One row per range, and one, without a position, for all frames.
    counted = swept.groupBy("position").agg(
        F.count_if(is_frame & (F.col("normal") + F.col("suspicious") > 0)).alias("labelled"),
        F.count_if(is_frame & (F.col("suspicious") > 0)).alias("suspicious"),
        F.count_if(is_frame & has_both).alias("both"),
        (F.max("frames") - F.min("frames")).alias("frames"),
    )
    found = {row["position"]: row for row in counted.collect()}
    found.pop(_KIND, None)
    totals = found.pop(None, {"labelled": 0, "suspicious": 0, "both": 0})
    of_frames = swept.where(is_frame)
    if totals["both"]:
        both = of_frames.where(has_both).orderBy("video", "time_s")
        clashes = {
            _clash(labels, resolved, row["video"], row["time_s"]) for row in both.limit(SHOWN).collect()
        }
        _check_consistent(labels, sorted(clashes), totals["both"])
    empty = sorted(position for position, row in found.items() if row["frames"] == 0)
    columns = [F.col("origin"), (F.col("suspicious") > 0).cast("double").alias("label")]
    if labels.kinds:  # element 1 is null
        kinds = F.array(F.lit(None).cast("string"), *map(F.lit, labels.kinds))
        columns.append(F.element_at(kinds, F.col("kind").cast("int") + 1).alias("kind"))
    labelled = of_frames.where("normal + suspicious > 0").select(*columns)
    counts = totals["labelled"], totals["suspicious"], len(empty)
    return JoinedLabels(labelled, *counts, empty[:SHOWN], kind_overlaps)


def by_video(frames: DataFrame, labels: Labels, resolved: Mapping[str, str]) -> JoinedLabels:
    """Gives all frames of a video the label of the video.

    Raises:
        InputError: a video has both labels.
    """
    rows, kind_overlaps = _one_label_each(labels, resolved, unit="video")
    label_of = frames.sparkSession.createDataFrame(rows, "video string, label double, kind string")
    kind = ["kind"] if labels.kinds else []
    origins = frames.select("origin", "video")
    labelled = origins.join(small(label_of, len(rows)), "video").select("origin", "label", *kind)
    counted = labelled.groupBy("label").count().collect()
    num_frames = {row["label"]: row["count"] for row in counted}
    return JoinedLabels(
        labelled,
        sum(num_frames.values()),
        num_frames.get(1.0, 0),
        kind_overlaps=kind_overlaps,
        num_videos=len(rows),
        num_suspicious_videos=sum(label == 1 for _, label, _ in rows),
    )


def by_point(
    frames: DataFrame, labels: Labels, resolved: Mapping[str, str], *, period_s: float = 1.0
) -> JoinedLabels:
    """Joins frames with labels by point: the frame that is shown at the point, and those near to it.

    The driver holds the times of the frames near to points.

    Args:
        frames: the frames.
        labels: the labels.
        resolved: the video of each name.
        period_s: seconds between frames.

    Raises:
        InputError: points of both labels are on one frame.
    """
    before_s, after_s = weak_labels.lead_s(period_s) + _EDGE_S, weak_labels.WIDEST_S / 2 + _EDGE_S
    points = {position: row for position, row in enumerate(labels.rows) if row.name in resolved}
    of_video: dict[str, list[int]] = defaultdict(list)
    ranges = []
    for position, row in points.items():
        video, second = resolved[row.name], row.start_s
        assert second is not None
        of_video[video].append(position)
        ranges.append((position, video, second - before_s, second + after_s, 1, 0))
    swept = _sweep(frames, frames.sparkSession.createDataFrame(ranges, _RANGES), len(ranges))
    near = to_arrow(swept.where("origin is not null and suspicious > 0").select("video", "time_s", "origin"))
    if len(near):
        near = near.sort_by([(name, "ascending") for name in ("video", "time_s", "origin")])
    rows, outside, kind_overlaps = _rows_near_points(labels, near, of_video, period_s)
    known = [label for _, label, is_known, *_ in rows if is_known]
    labelled = frames.sparkSession.createDataFrame(
        rows, "origin string, label double, known boolean, distance_s double, kind string"
    )
    if not labels.kinds:
        labelled = labelled.drop("kind")
    counts = len(known), int(sum(known)), len(outside)
    return JoinedLabels(labelled, *counts, outside[:SHOWN], kind_overlaps)


def _rows_near_points(
    labels: Labels, near: pa.Table, of_video: Mapping[str, Sequence[int]], period_s: float
) -> tuple[list[tuple[Any, ...]], list[int], int]:
    """Returns the rows of `JoinedLabels.labelled`, and what else it has.

    That is the positions of points outside their video, and the number of points on a frame with an earlier
    one of another kind.
    """
    videos, origins = (np.array(near[name].to_pylist(), object) for name in ("video", "origin"))
    times_s = near["time_s"].to_numpy()
    rows: list[tuple[Any, ...]] = []
    outside: list[int] = []
    clashes: list[tuple[int, int]] = []
    num_clashes, kind_overlaps = 0, 0
    for video, positions in of_video.items():
        begin, end = (int(np.searchsorted(videos, video, side)) for side in ("left", "right"))
        seconds = np.array([labels.rows[position].start_s for position in positions], float)
        truth = np.array([labels.rows[position].label for position in positions])
        found = weak_labels.near_points(times_s[begin:end], seconds, truth, period_s=period_s)
        outside += [position for position, own in zip(positions, found.own, strict=True) if own < 0]
        first: dict[int, int] = {}
        kind_of: dict[int, str] = {}
        clashing = set()
        for place, own in enumerate(found.own.tolist()):
            kind = labels.rows[positions[place]].kind
            if own >= 0 and kind:
                kind_overlaps += kind_of.setdefault(own, kind) != kind
            if own >= 0 and truth[first.setdefault(own, place)] != truth[place]:
                clashes.append((positions[first[own]], positions[place]))
                clashing.add(own)
        num_clashes += len(clashing)
        used = np.flatnonzero(found.known | (found.distances_s <= weak_labels.WIDEST_S / 2 + 1e-6))
        numbers = (truth[found.points[used]].astype(float), found.known[used], found.distances_s[used])
        owns = found.own[found.points[used]].tolist()  # the frames that the nearest points are on
        kinds = [kind_of.get(own) for own in owns]
        columns = (origins[begin:end][used].tolist(), *(values.tolist() for values in numbers), kinds)
        rows += zip(*columns, strict=True)
    _check_consistent(labels, clashes[:SHOWN], num_clashes)
    return rows, sorted(outside), kind_overlaps


def _sweep(frames: DataFrame, ranges: DataFrame, num_ranges: int) -> DataFrame:
    """Sorts frames and the edges of ranges by time, and counts open ranges.

    Returns:
        `video`, `time_s`, `origin` (null for an edge), `position` (null for a frame); and, up to this row,
        the number of `frames` and of open `normal` and `suspicious` ranges, and the open `kind`, or 0.
    """
    edges = F.explode(
        F.array(
            *(
                F.struct(F.col(column).alias("time_s"), F.lit(step).alias("step"))
                for column, step in (("start_s", 1), ("end_s", -1))
            )
        )
    )
    events = ranges.select("video", "position", "label", "kind", edges.alias("edge")).select(
        "video",
        "edge.time_s",
        "position",
        F.lit(None).cast("string").alias("origin"),
        F.when(F.col("label") == 0, F.col("edge.step")).otherwise(0).alias("normal"),
        F.when(F.col("label") == 1, F.col("edge.step")).otherwise(0).alias("suspicious"),
        (F.col("kind") * F.col("edge.step")).alias("kind"),
    )
    videos = small(ranges.select("video").distinct(), num_ranges)
    seen = frames.join(videos, "video", "left_semi").select(
        "video",
        F.col("timestamp_s").alias("time_s"),
        F.lit(None).cast("int").alias("position"),
        "origin",
        F.lit(0).alias("normal"),
        F.lit(0).alias("suspicious"),
        F.lit(0).alias("kind"),
    )
    # Ranges are half-open: at equal times, all edges come before the frames.
    order = Window.partitionBy("video").orderBy("time_s", F.col("origin").isNotNull())
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    counted = {"frames": F.col("origin").isNotNull().cast("int")}
    counted |= {name: F.col(name) for name in ("normal", "suspicious", "kind")}
    sums = [F.sum(value).over(so_far).alias(name) for name, value in counted.items()]
    return events.unionByName(seen).select("video", "time_s", "origin", "position", *sums)


def _clash(labels: Labels, resolved: Mapping[str, str], video: str, time_s: float) -> tuple[int, int]:
    """Returns the positions, sorted, of the first normal and the first suspicious range at a time."""
    first: dict[int, int] = {}
    for position, row in enumerate(labels.rows):
        if resolved.get(row.name) == video and row.start_s <= time_s < row.end_s:  # type: ignore[operator]
            first.setdefault(row.label, position)
    low, high = sorted(first.values())
    return low, high


def explain_unmatched(
    frames: DataFrame,
    column: str,
    labels: Labels | Groups,
    resolved: Mapping[str, str],
    rows: Sequence[int],
) -> list[str]:
    """Describes rows that match no frame, with the closest name or the time range of the video's frames."""
    names = {labels.rows[row].name for row in rows}
    closest = _closest(frames, column, [name for name in names if name not in resolved])
    covered = _covered(frames, [resolved[name] for name in names if name in resolved])
    shown = []
    for row in rows:
        name = labels.rows[row].name
        hint = covered[resolved[name]] if name in resolved else closest.get(name)
        shown.append(labels.row_text(row) + (f" ({hint})" if hint else ""))
    return shown


def _closest(frames: DataFrame, column: str, names: Sequence[str]) -> dict[str, str]:
    """Returns a hint for each name with the most similar file name in `column`."""
    if not names:
        return {}
    files = [label_names.forms(label_names.trimmed(name)).caseless.rpartition("/")[2] for name in names]
    ends = _ends(frames, column, {1})
    picks = []
    for file in files:
        distance = F.levenshtein("caseless", F.lit(file))
        picks.append(F.min(F.struct(distance.alias("distance"), "name")))
    found = ends.agg(*picks).collect()[0]
    return {
        name: f"the closest name is {pick['name']}"
        for name, file, pick in zip(names, files, found, strict=True)
        if pick is not None and pick["distance"] <= len(file) // 2
    }


def _covered(frames: DataFrame, videos: Sequence[str]) -> dict[str, str]:
    if not videos:
        return {}
    times = frames.where(F.col("video").isin(*videos)).groupBy("video")
    rows = times.agg(F.min("timestamp_s").alias("first"), F.max("timestamp_s").alias("last")).collect()
    return {row["video"]: f"its frames are from {row['first']:g} s to {row['last']:g} s" for row in rows}
