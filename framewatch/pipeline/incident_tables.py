"""Writes `incidents` and `candidates` of ranked frames."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from framewatch.io import storage
from framewatch.pipeline.run import Run
from framewatch.ranking import candidates, incidents
from framewatch.ranking.threshold import Threshold

# From so many frames on, vectors of candidates are kept from one ranking to the next.
_MANY_FRAMES, _MOST_VIDEOS = 50_000, 2000
_CHOSEN, _KEPT, _UNNAMED = "chosen_candidates", "kept_candidates", "unnamed_incidents"


@dataclass(frozen=True)
class Probabilities:
    """Numbers of the ranked frames' probabilities, which cost no job of their own.

    Attributes:
        mean: their mean.
        at_ranks: the probability at each wanted rank; None if there are fewer frames, or for rank 0.
    """

    mean: float
    at_ranks: Sequence[float | None]


def write_incidents(
    run: Run,
    features: DataFrame,
    chosen: Threshold,
    changed: Sequence[str] | None,
    *,
    draw: str,
    ranks: Sequence[int],
    kinds: Sequence[str] = (),
) -> tuple[dict[str, int], Probabilities]:
    """Writes `incidents` and `candidates`; returns counts of frames and incidents, and probabilities.

    Args:
        run: the current call.
        features: the rows of `features` as the classifier takes them.
        chosen: the threshold.
        changed: the videos whose candidates' features must be read; others keep those of the table
            `candidates`. None if all must be read.
        draw: the seed of the audit sample.
        ranks: the ranks whose probabilities are wanted.
        kinds: the kinds of events that the classifier names.
    """
    config, tables = run.config, run.tables
    predictions = tables.read("predictions")
    found = incidents.find_incidents(
        predictions, threshold=chosen.value, period_s=run.period_s, **asdict(config.incidents)
    )
    if kinds:
        found = tables.stage(found.coalesce(1), _UNNAMED)
        found = incidents.with_kinds(found, tables.current("scores"), kinds)
    tables.replace(found.coalesce(1), "incidents")
    found = tables.read("incidents")
    rows = candidates.choose_candidates(
        predictions, found, most=config.review.candidates, period_s=run.period_s, draw=draw
    )
    if changed is not None:
        rows = tables.stage(rows, _CHOSEN)
        features = _with_kept(run, features, rows, changed)
    tables.replace(candidates.with_features(rows, features).coalesce(1), "candidates")
    totals = candidates.with_incident(predictions, found).agg(
        F.count("*").alias("frames"),
        F.sum("prediction").alias("suspicious"),
        F.count_distinct("in_incident").alias("incidents"),
        F.count_if(F.col("in_incident").isNull()).alias("outside"),
        F.avg("prob2").alias("mean"),
        *(F.max(F.when(F.col("rank") == rank, F.col("prob2"))).alias(f"at_{rank}") for rank in set(ranks)),
    )
    row = totals.collect()[0]
    counts = {
        "frames": row["frames"],
        "suspicious": int(row["suspicious"] or 0),
        "incidents": row["incidents"],
        "frames_outside_incidents": row["outside"],
    }
    return counts, Probabilities(row["mean"] or 0.0, [row[f"at_{rank}"] for rank in ranks])


def _with_kept(run: Run, features: DataFrame, rows: DataFrame, changed: Sequence[str]) -> DataFrame:
    """Returns `origin` and `features` of chosen frames: those of the older `candidates`, others read."""
    kept = run.tables.set_aside("candidates", _KEPT).where(~F.col("video").isin(list(changed)))
    kept = kept.select("origin", "features")
    others = rows.join(kept, "origin", "left_anti")
    read = _of_videos(run, features, others.select("video").distinct().collect()).select("origin", "features")
    return kept.union(read.join(kept, "origin", "left_anti"))


def changed_videos(run: Run, scored: Mapping[int, str], identity: str) -> list[str] | None:
    """Returns the videos whose candidates' features must be read, while others keep those they have.

    These are the videos with other scores than in the earlier ranking. None if all must be read, or if there
    are few frames, which are read faster than this.
    """
    tables, ranking = run.tables, _earlier_ranking(run.config.output)
    latest = tables.latest()
    num_frames = pc.sum(latest["num_frames"]).as_py() or 0
    if num_frames < _MANY_FRAMES or tables.format == "delta" or not tables.exists("candidates"):
        return None
    known = set(ranking.get("scores", ())) if ranking.get("model") == identity else set()
    same = [batch for batch, scores_id in scored.items() if scores_id in known]
    changed = latest.filter(pc.invert(pc.is_in(latest["batch"], value_set=pa.array(same, pa.int32()))))
    return changed["video"].to_pylist() if len(changed) <= _MOST_VIDEOS else None


def _earlier_ranking(output: str) -> dict[str, Any]:
    try:
        return storage.read_json(storage.join(output, "ranking.json"))
    except FileNotFoundError:
        return {}


def _of_videos(run: Run, features: DataFrame, videos: Sequence[Row]) -> DataFrame:
    """Returns the rows of `features` of some videos; of few, only their files and row groups are read."""
    names = [row["video"] for row in videos]
    if len(names) > _MOST_VIDEOS:
        return features
    latest = run.tables.latest()
    batches = latest.filter(pc.is_in(latest["video"], value_set=pa.array(names, pa.string())))["batch"]
    features = features.where(F.col("batch").isin(batches.unique().to_pylist()))
    return features.where(F.col("video").isin(names))
