"""Reads the clusters and outliers of the footage for the report, if `framewatch explore` has run."""

import base64
from typing import Any

import numpy as np

from framewatch.errors import InputError
from framewatch.report import charts
from framewatch.tables.frame_pictures import Pictures
from framewatch.tables.results import Results

_MOST_OUTLIERS, _WIDTH, _STRETCHES = 24, 160, 100


def read_footage(results: Results) -> dict[str, Any] | None:
    """Returns clusters, with pictures and sizes over time, and outliers; None without `explore`."""
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
    """Returns the share of each cluster over the concatenated videos, (stretches,), scaled to at most 1."""
    keys = dict.fromkeys((row["video"], row["from_s"]) for row in times)
    minutes = {key: number for number, key in enumerate(keys)}
    num = min(_STRETCHES, len(minutes))
    counts = np.zeros((1 + max(row["cluster"] for row in times), num))
    for row in times:
        stretch = minutes[row["video"], row["from_s"]] * num // len(minutes)
        counts[row["cluster"], stretch] += row["num_frames"]
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    return dict(enumerate(shares / max(shares.max(), 1e-9)))
