"""The kinds of events that a classifier names: fits them on labelled frames, saves and reads them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.io import storage
from framewatch.ranking import kinds
from framewatch.ranking.blocks import COLUMNS, STILLS, Blocks
from framewatch.ranking.kinds import KindFrames, Kinds
from framewatch.spark.arrow import to_arrow
from framewatch.tables.saved_model import SavedModel

# Of each kind, and of what is not suspicious, so many frames are fitted at most: frames of one group resemble
# each other, and the fits take time in proportion.
_MOST_FRAMES = 2000


@dataclass(frozen=True)
class Counts:
    """The labelled frames that have features.

    Attributes:
        frames: the number of each kind, in descending order; that of None is suspicious without a kind.
        groups: the number of groups of videos with frames of each kind.
        normal: the number that is not suspicious.
    """

    frames: Mapping[str | None, int]
    groups: Mapping[str | None, int]
    normal: int

    @property
    def kinds(self) -> list[str]:
        """The kinds, the most frequent first."""
        return [kind for kind in self.frames if kind is not None]

    def reason(self, kind: str) -> str | None:
        """Returns why a kind cannot be named; None if it can."""
        frames, groups = self.frames[kind], self.groups[kind]
        if frames < kinds.FEWEST_FRAMES:
            text = f"{frames} labelled frame{'' if frames == 1 else 's'}: {kinds.FEWEST_FRAMES}"
        elif groups < kinds.FEWEST_GROUPS:
            text = f"labelled frames in {groups} group of videos: {kinds.FEWEST_GROUPS}"
        else:
            return None
        return f"kind '{kind}' has {text} are needed to name it"


def train_kinds(
    labelled: DataFrame, group_of: Mapping[str, str], blocks: Blocks | None, *, folds: int, most_values: float
) -> tuple[Kinds | None, dict[str, Any] | None]:
    """Fits the kinds, and evaluates them on left-out groups of videos.

    Args:
        labelled: labelled frames with features, `label`, `weight` and perhaps `kind`.
        group_of: the group of each labelled video.
        blocks: the blocks of features that the classifier takes; None for stills alone.
        folds: the maximum number of folds; 0 to evaluate nothing.
        most_values: how many numbers of labelled frames the driver takes.

    Returns:
        The kinds, and notes for the model card. Either is None if there are none.
    """
    if "kind" not in labelled.columns:
        return None, None
    labelled = labelled.where("weight > 0")
    counts = _count(labelled, group_of)
    if not counts.kinds:
        return None, None
    reasons = {kind: counts.reason(kind) for kind in counts.kinds}
    named = [kind for kind, reason in reasons.items() if reason is None]
    notes = {
        "named": named,
        "without_kind": counts.frames.get(None, 0),
        "fitted_per_kind": _MOST_FRAMES,
        "kinds": [
            {"kind": kind, "frames": counts.frames[kind], "groups": counts.groups[kind], "reason": reason}
            for kind, reason in reasons.items()
        ],
        "confusion": None,
    }
    if not named:
        return None, notes
    frames = _in_memory(labelled, counts, group_of, blocks, most_values)
    fitted = kinds.fit_kinds(frames, named)
    return fitted, _evaluated(frames, notes, folds)


def _evaluated(frames: KindFrames, notes: dict[str, Any], folds: int) -> dict[str, Any]:
    """Returns the notes with metrics on left-out groups, or the reason why there are none."""
    found: dict[str, np.ndarray] = {}
    of_each = []
    for about in notes["kinds"]:
        kind, measured = about["kind"], {"not_measured": about["reason"]}
        log_odds = None
        if about["reason"] is None and folds:
            log_odds = kinds.left_out_log_odds(frames, kind, folds=folds)
            measured = {"not_measured": f"the frames that are not '{kind}' are in too few groups of videos"}
        elif about["reason"] is None:
            measured = {"not_measured": "evaluation.folds=0"}
        if log_odds is not None:
            found[kind] = log_odds
            measured = {"not_measured": None, **kinds.metrics(frames, kind, log_odds)}
        of_each.append({**about, **measured})
    whole = len(found) == len(notes["named"]) > 0
    return {**notes, "kinds": of_each, "confusion": kinds.confusion(frames, found) if whole else None}


def _count(labelled: DataFrame, group_of: Mapping[str, str]) -> Counts:
    """Counts labelled frames: a row per kind and video comes to the driver."""
    rows = labelled.groupBy("label", "kind", "video").agg(F.count("*").alias("frames")).collect()
    frames: Counter[str | None] = Counter()
    groups: dict[str | None, set[str]] = {}
    normal = 0
    for row in rows:
        if row["label"] == 0:
            normal += row["frames"]
        else:
            frames[row["kind"]] += row["frames"]
            groups.setdefault(row["kind"], set()).add(group_of[row["video"]])
    ordered = sorted(frames.items(), key=lambda item: (-item[1], item[0] or ""))
    return Counts(dict(ordered), {kind: len(names) for kind, names in groups.items()}, normal)


def _in_memory(
    labelled: DataFrame,
    counts: Counts,
    group_of: Mapping[str, str],
    blocks: Blocks | None,
    most_values: float,
) -> KindFrames:
    """Reads the frames that have a kind or are not suspicious; of many frames of a kind, a random sample."""
    columns = [
        name for name in ("origin", "video", "kind", "weight", *COLUMNS.values()) if name in labelled.columns
    ]
    wanted = labelled.where("label = 0 or kind is not null").select(*columns)
    rows = to_arrow(_sampled(wanted, counts, blocks, most_values)).sort_by("origin")
    taken = blocks or Blocks.of_rows(rows, STILLS)
    return KindFrames(
        taken.matrix(rows),
        np.array([kind or "" for kind in rows["kind"].to_pylist()], object),
        rows["weight"].to_numpy(),
        np.array([group_of[video] for video in rows["video"].to_pylist()]),
        list(taken.columns.values()),
    )


def _sampled(rows: DataFrame, counts: Counts, blocks: Blocks | None, most_values: float) -> DataFrame:
    """Returns at most so many frames of each kind, and of those without one, that the driver takes them."""
    first = rows.select(F.size("features")).first()
    assert first is not None
    length = sum(len(values) for values in blocks.fill.values()) if blocks else first[0]
    quota = max(2, min(_MOST_FRAMES, int(most_values / length / (len(counts.kinds) + 1))))
    if max(counts.normal, *(counts.frames[kind] for kind in counts.kinds)) <= quota:
        return rows
    number = F.row_number().over(Window.partitionBy("kind").orderBy(F.xxhash64("origin"), "origin"))
    chosen = rows.select("origin", "kind").withColumn("number", number).where(F.col("number") <= quota)
    return rows.join(F.broadcast(chosen.select("origin")), "origin", "left_semi")


def save_kinds(saved: SavedModel, fitted: Kinds) -> None:
    """Writes the kinds of a version, before it is published."""
    storage.write_json(_path(saved), fitted.to_json())


def read_kinds(saved: SavedModel) -> Kinds | None:
    """Returns the kinds that a version names; None without any."""
    if not (saved.notes.get("kinds") or {}).get("named"):
        return None
    return Kinds.of_json(storage.read_json(_path(saved)))


def _path(saved: SavedModel) -> str:
    return storage.join(saved.directory, "kinds.json")
