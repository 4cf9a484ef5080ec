"""How a video went, from how its parts went: the words of the ledger. No Spark in here."""

from collections.abc import Sequence
from typing import Any

from framewatch.io.redact import redact

# Containers round their duration, and count frames that a decoder drops at either end.
_MISSING_TOLERANCE_S = 1.0
_OF_THE_FILE = ("fps", "width", "height", "codec")


def combined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Status, error and counts of a video.

    Args:
        parts: the outcome of each part, in any order.

    Returns:
        `status` is `ok`, `partial` (frames came out, and something is missing or damaged), `failed`, or
        `unreadable` (the storage did not give the file, or not all of it).
    """
    num_frames = sum(part["num_frames"] or 0 for part in parts)
    failures = sorted({part["failure"] for part in parts if part["failure"]})
    complaint = min((part["complaint"] for part in parts if part["complaint"]), default=None)
    told = f"FFmpeg: {complaint}" if complaint else None
    is_unreadable = any(part.get("unreadable") for part in parts)
    if num_frames == 0:
        reasons = failures or ["no frame could be decoded"]
        status = "unreadable" if is_unreadable else "failed"
        return {"status": status, "error": _joined([*reasons, told]), "num_frames": 0}
    duration_s = max(part["duration_s"] or 0.0 for part in parts)
    known = next(part for part in parts if part["width"]) if any(part["width"] for part in parts) else {}
    problems = [*_problems(parts, duration_s), *failures]
    came_out = f"{duration_s:.1f} s came out"
    return {
        "status": "unreadable" if is_unreadable else "partial" if problems else "ok",
        "error": f"{came_out}: {_joined([*problems, told])}" if problems else None,
        "duration_s": duration_s,
        **{name: known.get(name) for name in _OF_THE_FILE},
        "num_frames": num_frames,
    }


def _problems(parts: Sequence[dict[str, Any]], duration_s: float) -> list[str]:
    damaged = sum(part["num_damaged"] or 0 for part in parts)
    missing_s = max(part["expected_s"] or 0.0 for part in parts) - duration_s
    problems = [f"{damaged} damaged frame(s)"] if damaged else []
    if missing_s > _MISSING_TOLERANCE_S:
        problems.append(f"the last {missing_s:.1f} s are missing")
    return problems


def _joined(reasons: Sequence[str | None]) -> str:
    return redact("; ".join(reason for reason in reasons if reason))
