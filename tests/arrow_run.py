"""Outputs written with Arrow alone, as Spark would write them: features, and what a ranking says of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from framewatch.tables.columns import FEATURES, VECTOR

# Of the MLlib vectors that older versions wrote.
_OLD = pa.schema([pa.field("features", VECTOR) if field.name == "features" else field for field in FEATURES])


def origin_of(video: str, second: int, batch: int = 0) -> str:
    """The name of a frame; another batch names it otherwise."""
    again = f"-{batch}" if batch else ""
    return f"images/{video.removeprefix('file:/').rpartition('.')[0]}{again}frame{second:04d}.jpg"


def write_batch(
    output: Path,
    batch: int,
    videos: Mapping[str, Sequence[Any]],
    identity: Mapping[str, Any] | None = None,
    *,
    as_before: bool = False,
) -> None:
    """`videos` and `features` of one batch.

    Args:
        output: of the run.
        batch: its number; what is there of it goes.
        videos: by URI, the vector of each second; None for a damaged picture.
        identity: what made the vectors.
        as_before: whether they are MLlib vectors, as in older versions.
    """
    for table in ("videos", "features"):
        (output / table / f"batch={batch}").mkdir(parents=True, exist_ok=True)
    ledger = {"video": list(videos), "duration_s": [float(len(its)) for its in videos.values()]}
    ledger["modified_at"] = pa.array([batch] * len(videos), pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(ledger), output / "videos" / f"batch={batch}" / "part-0.parquet")
    rows = [
        {
            "origin": origin_of(video, second, batch),
            "video": video,
            "frame_index": 25 * second,
            "timestamp_s": float(second),
            "features": {"type": 1, "values": list(values)} if as_before and values else values,
            "error": "damaged" if values is None else None,
        }
        for video, its in videos.items()
        for second, values in enumerate(its)
    ]
    about = {"fields": [{"name": "features", "metadata": {"framewatch": dict(identity or {"model": "own"})}}]}
    schema = (_OLD if as_before else FEATURES).remove(len(FEATURES) - 1)  # the batch is the directory's name
    schema = schema.with_metadata({"org.apache.spark.sql.parquet.row.metadata": json.dumps(about)})
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, output / "features" / f"batch={batch}" / "part-0.parquet")


def write_ranking(output: Path, prob2: Mapping[tuple[str, int], float]) -> None:
    """`predictions` of some frames, by video and second, and `ranking.json`."""
    (output / "predictions").mkdir(parents=True, exist_ok=True)
    rows = [
        {"origin": origin_of(video, second), "video": video, "timestamp_s": float(second), "prob2": value}
        for (video, second), value in prob2.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), output / "predictions" / "part-0.parquet")
    about = {
        "model_path": "model",
        "model": "made up",
        "period_s": 1.0,
        "frames": len(rows),
        "threshold": 0.5,
    }
    (output / "ranking.json").write_text(json.dumps(about))


def write_labelled(output: Path, labels: Mapping[tuple[str, int], float]) -> None:
    """The frames that a classifier learned from, by video and second."""
    (output / "model" / "labelled").mkdir(parents=True, exist_ok=True)
    (output / "model" / "metrics.json").write_text("{}")
    rows = [
        {"video": video, "timestamp_s": float(second), "label": label}
        for (video, second), label in labels.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), output / "model" / "labelled" / "part-0.parquet")
