"""Shows frames and clips in Jupyter and Databricks notebooks, as self-contained HTML.

from framewatch.notebook import show_frames, show_video

show_frames(spark.read.parquet("out/demo/frames"))
show_video("out/samples/test/Fight5.mp4", at_s=9)
"""

import base64
import importlib
import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from framewatch.errors import InputError, SchemaError, SetupError
from framewatch.io.storage import basename
from framewatch.tables.frame_pictures import smaller
from framewatch.video.clip_writer import ClipSettings, cut_clip_in_child

_NEEDED = ("origin", "content")
_CAPTION = ("video", "timestamp_s", "prob2", "rank")
# Limits the output, which a notebook stores, and which Databricks truncates at 20 MB per cell.
_MOST_FRAMES = 100
_WIDEST = 640
_LONGEST_S = 60.0
# Low quality for a quick look; the review page has better clips.
_MAX_FPS = 12.5
_CRF = 32


def show_frames(rows: Any, *, limit: int = 12, columns: int = 4, width: int = 200) -> None:
    """Shows frames as a grid of thumbnails with video, second, probability and rank.

    Args:
        rows: a DataFrame with `origin` and `content`, or a list of its rows: `frames`, or predictions joined
            with it. The caption shows `video`, `timestamp_s`, `prob2` and `rank` if they exist. Only these
            columns and only the shown rows of a DataFrame are read.
        limit: maximum number of frames, up to 100; the first rows are shown.
        columns: number of pictures in a row.
        width: width of a picture, in pixels, 16 to 640; smaller pictures are not enlarged.

    Raises:
        SchemaError: a column is missing or duplicated.
        InputError: a number is out of range.
        SetupError: the function was not called in a notebook.
    """
    display = _notebook_display("show_frames")
    _require_between("limit", limit, 1, _MOST_FRAMES)
    _require_between("columns", columns, 1, _MOST_FRAMES)
    _require_between("width", width, 16, _WIDEST)
    cells = [_cell(row, width) for row in _first_rows(rows, limit)]
    if not cells:
        display("<p>No frames to show: there are no rows.</p>")
        return
    lines = ["".join(cells[at : at + columns]) for at in range(0, len(cells), columns)]
    # A table, because code hosts strip styles. Jupyter would color every other row.
    table_rows = "".join(f'<tr style="background:none">{line}</tr>' for line in lines)
    display(f'<table style="border:0">{table_rows}</table>')


def show_video(video: str, at_s: float, *, length_s: float = 5.0, width: int = 320) -> None:
    """Shows a playable clip around a second of a video. Playback starts there; rewind to see before.

    Args:
        video: a path, or a URI from the tables.
        at_s: seconds from the start of the video.
        length_s: length of the clip, up to 60 seconds; a third of it is before `at_s`.
        width: length of the longer side, in pixels, 16 to 640; smaller pictures are not enlarged.

    Raises:
        VideoError: the video cannot be read, or ends before the clip starts.
        InputError: a number is out of range.
        SetupError: the function was not called in a notebook.
    """
    display = _notebook_display("show_video")
    _require_between("at_s", at_s, 0, math.inf)
    _require_between("length_s", length_s, 0.1, _LONGEST_S)
    _require_between("width", width, 16, _WIDEST)
    start_s = max(0.0, at_s - length_s / 3)
    settings = ClipSettings(max_side=width, max_fps=_MAX_FPS, crf=_CRF)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "clip.mp4"
        begin_s = cut_clip_in_child(video, path, start_s=start_s, end_s=start_s + length_s, settings=settings)
        clip = base64.b64encode(path.read_bytes()).decode()
    caption = f"{escape(basename(video))}, from {at_s:.1f} s on"
    # A media fragment sets the second at which playback starts.
    source = f"data:video/mp4;base64,{clip}#t={max(0.0, at_s - begin_s):.3f}"
    missing = "The clip plays where this notebook is opened in Jupyter or Databricks."
    display(
        f'<video controls muted playsinline preload="auto" width="{width}" src="{source}">{missing}</video>'
        f"<br>{caption}"
    )


def notebook_names() -> dict[str, Any]:
    """Returns the global names of the current notebook; empty outside a notebook.

    Databricks defines `displayHTML` and `dbutils` there, where modules do not have access.
    """
    shell = _shell()
    return {} if shell is None else shell.user_ns


def _shell() -> Any | None:
    """Returns IPython's shell, also on Databricks; None in plain Python."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()  # type: ignore[no-untyped-call]


def _notebook_display(caller: str) -> Callable[[str], object]:
    """Returns the function that shows HTML in this notebook."""
    on_databricks = notebook_names().get("displayHTML") or _databricks_display()
    if on_databricks is not None:
        return on_databricks
    if getattr(_shell(), "kernel", None) is None:  # plain Python, or IPython in a terminal
        raise SetupError(
            f"{caller} shows HTML and needs a notebook: call it in Jupyter or Databricks, or view a run with "
            "`framewatch review OUTPUT`"
        )
    from IPython.display import HTML, display

    return lambda page: display(HTML(page))  # type: ignore[no-untyped-call]


def _databricks_display() -> Callable[[str], object] | None:
    try:
        return importlib.import_module("dbruntime.display").displayHTML
    except (ImportError, AttributeError):
        return None


def _require_between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most or math.isinf(value):
        bounds = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
        raise InputError(f"{name}={value}: give {bounds}")


def _first_rows(rows: Any, limit: int) -> list[Mapping[str, Any]]:
    """Returns at most `limit` rows as mappings, with the columns for pictures and captions."""
    if hasattr(rows, "collect"):  # a DataFrame; Spark Connect has its own class
        _require_columns(rows.columns)
        wanted = [name for name in (*_NEEDED, *_CAPTION) if name in rows.columns]
        return [row.asDict() for row in rows.select(*wanted).limit(limit).collect()]
    first = itertools.islice(_iterable(rows), limit)
    found = [row.asDict() if hasattr(row, "asDict") else row for row in first]
    for row in found:
        _require_columns(list(row))
    return found


def _iterable(rows: Any) -> Iterable[Any]:
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise InputError(f"show_frames got a {type(rows).__name__}: give a DataFrame or a list of its rows")
    return rows


def _require_columns(have: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in have]
    if missing:
        raise SchemaError(
            f"show_frames needs the column(s) {', '.join(missing)}, but got {', '.join(have)}: join "
            "the rows with `frames` by origin"
        )
    twice = [name for name in (*_NEEDED, *_CAPTION) if have.count(name) > 1]
    if twice:
        doubled = ", ".join(twice)
        raise SchemaError(
            f"show_frames got the column(s) {doubled} twice: before joining `frames`, select its columns "
            "origin and content"
        )


def _cell(row: Mapping[str, Any], width: int) -> str:
    small = smaller(row["content"], width) if row["content"] else None
    name = basename(str(row.get("video") or row["origin"]))
    picture = "(no picture)"
    if small is not None:
        source = f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
        picture = f'<img src="{source}" alt="{escape(name)}" style="max-width:none">'
    style = "text-align:left;vertical-align:top;border:0"
    return f'<td style="{style}">{picture}<br>{escape(_caption(name, row))}</td>'


def _caption(name: str, row: Mapping[str, Any]) -> str:
    """Returns a caption such as "1. Fight5.mp4, 12.0 s, 0.973"."""
    rank, at_s, probability = (row.get(key) for key in ("rank", "timestamp_s", "prob2"))
    parts = [name if rank is None else f"{rank}. {name}"]
    parts += [] if at_s is None else [f"{at_s:.1f} s"]
    parts += [] if probability is None else [f"{probability:.3f}"]
    return ", ".join(parts)
