"""Draws charts as SVG without a library. They scale, print, and use the colors of the page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from framewatch.tables.timeline import clock, stretches, thinned

_WIDTH, _HEIGHT, _FOOT = 1000, 110, 86
_SQUARE, _EDGE = 300, 36
_MOST_POINTS = 500
_STEPS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 86400)


def timeline(
    times_s: np.ndarray,
    prob2: np.ndarray,
    *,
    duration_s: float,
    period_s: float,
    threshold: float,
    incidents: Sequence[tuple[float, float]],
    labels: Sequence[tuple[float, float]],
) -> Markup:
    """Draws the probability over time of a video, with shaded incidents, and labels below.

    Args:
        times_s: (n,) seconds, ascending.
        prob2: (n,) probabilities.
        duration_s: duration of the video.
        period_s: duration of a frame, in seconds.
        threshold: threshold, drawn as a line.
        incidents: half-open ranges of seconds.
        labels: second and label of each labelled frame.
    """
    last_s = float(times_s[-1]) + period_s if len(times_s) else period_s
    span = max(duration_s, last_s)

    def x(second: float) -> float:
        return second / span * _WIDTH

    parts = [_box("incident", x(start_s), x(end_s), 0, _FOOT) for start_s, end_s in incidents]
    for value, runs in ((1.0, "suspicious"), (0.0, "not")):
        joined = stretches([second for second, label in labels if label == value], period_s)
        parts += [_box(runs, x(begin), x(end), _FOOT + 3, 5) for begin, end in joined]
    parts.append(
        f'<line class="threshold" x1="0" x2="{_WIDTH}" y1="{_y(threshold):.1f}" y2="{_y(threshold):.1f}"/>'
    )
    points = zip(*thinned(times_s, prob2, _MOST_POINTS), strict=True)
    steps = " ".join(
        f"{x(second):.1f},{_y(value):.1f} {x(min(second + period_s, span)):.1f},{_y(value):.1f}"
        for second, value in points
    )
    parts.append(f'<polyline class="curve" points="{steps}"/>')
    step = next((step for step in _STEPS_S if span / step <= 12), _STEPS_S[-1])
    parts += [
        f'<text x="{x(second):.1f}" y="{_HEIGHT - 3}">{clock(second)}</text>'
        for second in np.arange(0, span - step * 0.4, step)
    ]
    return _svg("timeline", _WIDTH, _HEIGHT, parts, "probability over time")


def precision_recall(curves: dict[str, list[dict[str, Any]]]) -> Markup:
    """Draws precision over recall, with a line for each named curve."""

    def at(recall: float, precision: float) -> str:
        return f"{_EDGE + recall * _SQUARE:.1f},{8 + (1 - precision) * _SQUARE:.1f}"

    parts = [f'<rect class="frame" x="{_EDGE}" y="8" width="{_SQUARE}" height="{_SQUARE}"/>']
    for number, curve in enumerate(curves.values()):
        points = [at(0.0, curve[0]["precision"])] + [at(p["recall"], p["precision"]) for p in curve]
        parts.append(f'<polyline class="curve curve-{number}" points="{" ".join(points)}"/>')
    parts += _axes("recall", "precision")
    return _svg("pr", _SQUARE + _EDGE + 12, _SQUARE + 44, parts, "precision over recall")


def reliability(curves: dict[str, list[dict[str, Any]] | None]) -> Markup | None:
    """Draws the share of suspicious frames over the probability, with a line for each named curve.

    On the diagonal, probabilities are shares. Vertical lines are intervals. None without a curve.
    """
    if not any(curves.values()):
        return None

    def x(probability: float) -> float:
        return _EDGE + probability * _SQUARE

    def y(share: float) -> float:
        return 8 + (1 - share) * _SQUARE

    parts = [f'<rect class="frame" x="{_EDGE}" y="8" width="{_SQUARE}" height="{_SQUARE}"/>']
    parts.append(f'<line class="threshold" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for number, bins in enumerate(curves.values()):
        points = [(x(row["probability"]), y(row["share"])) for row in bins or []]
        line = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
        parts.append(f'<polyline class="curve curve-{number}" points="{line}"/>')
        for (left, top), row in zip(points, bins or [], strict=True):
            mark = f'x="{left - 2:.1f}" y="{top - 2:.1f}" width="4" height="4"'
            parts.append(f'<rect class="curve curve-{number}" {mark}/>')
            if row["share_interval"]:
                low, high = (y(share) for share in row["share_interval"])
                ends = f'x1="{left:.1f}" x2="{left:.1f}" y1="{low:.1f}" y2="{high:.1f}"'
                parts.append(f'<line class="curve curve-{number}" {ends}/>')
    parts += _axes("probability", "share suspicious")
    return _svg("reliability", _SQUARE + _EDGE + 12, _SQUARE + 44, parts, "share over probability")


def _axes(across: str, up: str) -> list[str]:
    """Returns ticks and titles of a square chart, both axes from 0 to 1."""
    parts = []
    for tick in (0, 0.5, 1):
        parts.append(f'<text x="{_EDGE + tick * _SQUARE - 6}" y="{_SQUARE + 24}">{tick:g}</text>')
        parts.append(f'<text x="8" y="{8 + (1 - tick) * _SQUARE + 4}">{tick:g}</text>')
    parts.append(f'<text x="{_EDGE + _SQUARE / 2 - 18}" y="{_SQUARE + 38}">{across}</text>')
    parts.append(f'<text transform="rotate(-90)" x="{-_SQUARE * 0.45}" y="20">{up}</text>')
    return parts


def sizes(counts: np.ndarray) -> Markup:
    """Draws the size of a cluster over the footage, from (stretches,) heights, 0 to 1."""
    width = _WIDTH / max(len(counts), 1)
    parts = [
        f'<rect class="size" x="{number * width:.1f}" y="{30 - 30 * share:.1f}" width="{width:.2f}" '
        f'height="{30 * share:.1f}"/>'
        for number, share in enumerate(counts.tolist())
        if share > 0
    ]
    return _svg("sizes", _WIDTH, 30, parts, "share of the frames, over all footage")


def _svg(name: str, width: int, height: int, parts: list[str], title: str) -> Markup:

    return Markup(  # safe, because it contains only numbers and constant text
        f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
        f"{''.join(parts)}</svg>"
    )


def _box(name: str, left: float, right: float, top: float, height: float) -> str:
    width = max(right - left, 2.0)
    return f'<rect class="{name}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{height}"/>'


def _y(probability: float) -> float:
    return 4 + (1 - probability) * (_FOOT - 4)
