"""Prints and saves hits and similarity curves: tables, JSON, Parquet, pictures. Does not import Spark."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from framewatch.errors import InputError, SetupError
from framewatch.io import storage
from framewatch.io.storage import basename
from framewatch.io.terminal import print_aside, print_line, show_table
from framewatch.search.hits import Hit
from framewatch.tables.timeline import clock, thinned

_NAME = re.compile(r"[\w-]{1,100}\Z")
_SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("video", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("peak_s", pa.float64()),
        ("origin", pa.string()),
        ("scope", pa.string()),
        ("probability", pa.float64()),
        ("label", pa.int32()),
        ("rejected", pa.bool_()),
    ]
)
_LINES, _BAR = 40, 30


def as_json(hits: Sequence[Hit]) -> dict[str, Any]:
    """Returns hits as plain values for JSON."""
    return {"data": [{"rank": n, **asdict(hit)} for n, hit in enumerate(hits, start=1)]}


def tell_hits(hits: Sequence[Hit]) -> None:
    """Prints hits as a table."""
    if not hits:
        print_line("nothing is found: ask with fewer filters")
        return
    rows = [
        (
            f"{hit.score:.3f}",
            basename(hit.video),
            clock(hit.start_s),
            clock(hit.end_s),
            clock(hit.peak_s),
            "" if hit.probability is None else f"{hit.probability:.3f}",
            "rejected" if hit.rejected else {None: "", 0: "not", 1: "suspicious"}[hit.label],
        )
        for hit in hits
    ]
    show_table(("score", "video", "from", "to", "best at", "probability", "label"), rows)


def save_hits(output: str, name: str, hits: Sequence[Hit]) -> str:
    """Writes hits to `OUTPUT/searches/NAME.parquet`, and returns its path.

    Raises:
        InputError: the name is not valid for a file.
    """
    if not _NAME.match(name):
        raise InputError(f"--save {name} is not valid: give a name of letters, digits, - and _")
    rows = pa.Table.from_pylist(as_json(hits)["data"], schema=_SCHEMA)
    data = pa.BufferOutputStream()
    pq.write_table(rows, data, compression="zstd")
    path = storage.join(output, "searches", f"{name}.parquet")
    storage.write_bytes(path, data.getvalue().to_pybytes())
    return path


def tell_saved(path: str) -> None:
    """Prints the SQL that reads saved hits, to stderr."""
    print_aside(f"search: select * from parquet.`{path}`")


def curve_json(video: str, times_s: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Returns one video's similarity curve as plain values for JSON.

    Args:
        video: the video's URI.
        times_s: (n,) times in seconds.
        values: (n,) cosines.
    """
    points = zip(times_s.tolist(), values.tolist(), strict=True)
    return {
        "video": video,
        "seconds": [{"timestamp_s": at, "score": round(value, 6)} for at, value in points],
    }


def tell_curve(video: str, times_s: np.ndarray, values: np.ndarray) -> None:
    """Prints one video's similarity curve as a table of bars, with the maximum of each stretch.

    Args:
        video: the video's URI.
        times_s: (n,) times in seconds.
        values: (n,) cosines.
    """
    if not len(times_s):
        print_line(f"{basename(video)}: no frame of it has features")
        return
    best = int(np.argmax(values))
    print_line(f"{basename(video)}: most similar at {clock(times_s[best])} ({values[best]:.3f})")
    low, high = float(values.min()), float(values.max())
    bars = f"{low:.3f} to {high:.3f}"
    rows = [
        (clock(at), f"{value:.3f}", "█" * round(_BAR * (value - low) / max(high - low, 1e-9)))
        for at, value in zip(*thinned(times_s, values, _LINES), strict=True)
    ]
    show_table(("at", "score", bars), rows, left=bars)


def plot(file: str, video: str, times_s: np.ndarray, values: np.ndarray) -> None:
    """Draws one video's similarity curve to a file.

    Args:
        file: path of a .png or .svg file.
        video: the video's URI.
        times_s: (n,) times in seconds.
        values: (n,) cosines.

    Raises:
        InputError: the file cannot be written, or has another suffix.
        SetupError: matplotlib is missing.
    """
    if Path(file).suffix not in (".png", ".svg"):
        raise InputError(f"--plot {file} is not valid: give a file that ends in .png or .svg")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError("--plot needs matplotlib: pip install 'framewatch[notebooks]'") from error
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    axes.step(times_s, values, where="post")
    axes.set(title=basename(video), xlabel="second", ylabel="similarity (cosine)")
    axes.margins(x=0)
    try:
        figure.savefig(file)
    except OSError as error:
        raise InputError(f"--plot {file} cannot be written ({error.strerror}): give another") from error
    print_aside(f"search: {file}")
