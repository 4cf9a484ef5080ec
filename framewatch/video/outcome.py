"""How a video went, from how its parts went: the words of the ledger. No Spark in here."""

import re
from collections.abc import Sequence
from typing import Any

from framewatch.io.redact import redact

# Where FFmpeg complains, what a container has too much is more likely missing than rounded.
_DOUBTFUL_S = 0.1
# Decoders of JPEG and HEVC complain of a spoiled picture, and hand it out as a good one.
_SPOILED = re.compile(r"^\[\w+\] (error y=\d|The cu_qp_delta|CABAC)")
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
    problems = [*_problems(parts, duration_s, complaint), *failures]
    warnings = {warning: None for part in parts for warning in (part["warning"] or "").split("; ") if warning}
    if not problems:
        missing_s = _missing_s(parts, duration_s, has_complaint=complaint is not None)
        if missing_s:
            told_s = duration_s + missing_s
            warnings[f"the container's length of {told_s:.1f} s is not believed: no packet is missing"] = None
        if told:
            warnings[told] = None
    came_out = f"{duration_s:.1f} s came out"
    return {
        "status": "unreadable" if is_unreadable else "partial" if problems else "ok",
        "error": f"{came_out}: {_joined([*problems, told])}" if problems else None,
        "warning": _joined(list(warnings)) or None,
        "duration_s": duration_s,
        **{name: known.get(name) for name in _OF_THE_FILE},
        "num_frames": num_frames,
    }


def _problems(parts: Sequence[dict[str, Any]], duration_s: float, complaint: str | None) -> list[str]:
    damaged = sum(part["num_damaged"] or 0 for part in parts)
    missing_s = _missing_s(parts, duration_s, has_complaint=complaint is not None)
    gap_s = max(part["gap_s"] or 0.0 for part in parts)
    problems = [f"{damaged} damaged frame(s)"] if damaged else []
    if not damaged and complaint and _SPOILED.match(complaint):
        problems.append("at least one damaged frame")
    # A recorder that waits for motion leaves gaps too, and FFmpeg has nothing to complain of.
    if gap_s and complaint:
        problems.append(f"{gap_s:.1f} s without a frame")
    # A length that the packets contradict is only believed where some may be missing.
    if missing_s and (problems or complaint or not all(part["is_whole"] for part in parts)):
        problems.append(f"the last {missing_s:.1f} s are missing")
    elif any(part["is_whole"] is False for part in parts):
        problems.append("the file ends in the middle of a packet: its end is missing")
    return [*problems, *sorted({part["goes_on_in"] for part in parts if part["goes_on_in"]})]


def _missing_s(parts: Sequence[dict[str, Any]], duration_s: float, *, has_complaint: bool) -> float:
    """Seconds that should follow the last frame, by the container's account; 0 if it may have rounded."""
    missing_s = max(part["expected_s"] or 0.0 for part in parts) - duration_s
    tolerance_s = max(part["tolerance_s"] or 0.0 for part in parts)
    return missing_s if missing_s > (min(tolerance_s, _DOUBTFUL_S) if has_complaint else tolerance_s) else 0.0


def _joined(reasons: Sequence[str | None]) -> str:
    return redact("; ".join(reason for reason in reasons if reason))
