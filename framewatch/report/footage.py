"""What the report tells of the footage: its clusters and outliers, where `framewatch explore` has run."""

import base64
from typing import Any

import numpy as np

from framewatch.errors import InputError
from framewatch.report import charts
from framewatch.tables.frame_pictures import Pictures
from framewatch.tables.results import Results

_MOST_OUTLIERS, _WIDTH, _STRETCHES = 24, 160, 100


def read_footage(results: Results) -> dict[str, Any] | None:
    """Clusters, each with a picture and its size over time, and outliers; None where nobody explored."""
    try:
        clusters = results.dataset("clusters").to_table().to_pylist()
        outliers = results.dataset("outliers").to_table().sort_by("rank").to_pylist()
        times = (
            results.dataset("cluster_times")
            .to_table()
            .sort_by([("video", "ascending"), ("from_s", "ascending")])
        )
    except InputError:
        return None
    pictures = Pictures(results)
    sizes = _sizes(times.to_pylist())
    total = sum(row["num_frames"] for row in clusters)
    for row in clusters:
        row["picture"] = _picture(pictures, row["example"])
        row["share"] = row["num_frames"] / total
        row["chart"] = charts.sizes(sizes[row["cluster"]])
    shown = [{**row, "picture": _picture(pictures, row["origin"])} for row in outliers[:_MOST_OUTLIERS]]
    return {"clusters": clusters, "outliers": shown, "num_outliers": len(outliers)}


def _picture(pictures: Pictures, origin: str) -> str | None:
    content = pictures.thumbnail(origin, _WIDTH)
    return base64.b64encode(content).decode() if content else None


def _sizes(times: list[dict[str, Any]]) -> dict[int, np.ndarray]:
    """By cluster, how its share goes on over the footage, videos one after the other; the largest is 1."""
    minutes = {
        key: number for number, key in enumerate(dict.fromkeys((it["video"], it["from_s"]) for it in times))
    }
    num = min(_STRETCHES, len(minutes))
    counts = np.zeros((1 + max(it["cluster"] for it in times), num))
    for it in times:
        place = minutes[it["video"], it["from_s"]] * num // len(minutes)
        counts[it["cluster"], place] += it["num_frames"]
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    return dict(enumerate(shares / max(shares.max(), 1e-9)))  # the largest fills the height
