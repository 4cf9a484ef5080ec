"""Combines the outcomes of a video's parts into its row of the `videos` table. Does not import Spark."""

import re
from collections.abc import Sequence
from typing import Any

from framewatch.io.redact import redact

# The tolerance if FFmpeg reports an error: then missing footage is more likely than a rounded duration.
_DOUBTFUL_S = 0.1
# FFmpeg's JPEG and HEVC decoders report these errors, but return the damaged picture as a good one.
_SPOILED = re.compile(r"^\[\w+\] (error y=\d|The cu_qp_delta|CABAC)")
_OF_THE_FILE = ("fps", "width", "height", "codec")


def combined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns status, error, warning and counts of a video.

    Args:
        parts: the outcome of each part, in any order.

    Returns:
        Columns of the `videos` table. `status` is `ok`, `partial` (frames were decoded, but something is
        missing or damaged), `failed`, or `unreadable` (the storage did not return the whole file).
    """
    num_frames = sum(part["num_frames"] or 0 for part in parts)
    failures = sorted({part["failure"] for part in parts if part["failure"]})
    complaint = min((part["complaint"] for part in parts if part["complaint"]), default=None)
    ffmpeg_error = f"FFmpeg: {complaint}" if complaint else None
    is_unreadable = any(part.get("unreadable") for part in parts)
    if num_frames == 0:
        reasons = failures or ["no frame could be decoded"]
        status = "unreadable" if is_unreadable else "failed"
        return {"status": status, "error": _joined([*reasons, ffmpeg_error]), "num_frames": 0}
    duration_s = max(part["duration_s"] or 0.0 for part in parts)
    info: dict[str, Any] = next((part for part in parts if part["width"]), {})
    problems = [*_problems(parts, duration_s, complaint), *failures]
    warnings = {warning: None for part in parts for warning in (part["warning"] or "").split("; ") if warning}
    if not problems:
        missing_s = _missing_s(parts, duration_s, has_complaint=complaint is not None)
        if missing_s:
            stated_s = duration_s + missing_s
            warnings[f"the container's duration of {stated_s:.1f} s is ignored: no packet is missing"] = None
        if ffmpeg_error:
            warnings[ffmpeg_error] = None
    decoded = f"{duration_s:.1f} s decoded"
    return {
        "status": "unreadable" if is_unreadable else "partial" if problems else "ok",
        "error": f"{decoded}: {_joined([*problems, ffmpeg_error])}" if problems else None,
        "warning": _joined(list(warnings)) or None,
        "duration_s": duration_s,
        **{name: info.get(name) for name in _OF_THE_FILE},
        "num_frames": num_frames,
    }


def _problems(parts: Sequence[dict[str, Any]], duration_s: float, complaint: str | None) -> list[str]:
    damaged = sum(part["num_damaged"] or 0 for part in parts)
    missing_s = _missing_s(parts, duration_s, has_complaint=complaint is not None)
    gap_s = max(part["gap_s"] or 0.0 for part in parts)
    problems = [f"{damaged} damaged frame(s)"] if damaged else []
    if not damaged and complaint and _SPOILED.match(complaint):
        problems.append("at least one damaged frame")
    # A recorder that records only motion also leaves gaps, but then FFmpeg reports no error.
    if gap_s and complaint:
        problems.append(f"{gap_s:.1f} s without a frame")
    # A duration that packets contradict counts only if packets may be missing.
    if missing_s and (problems or complaint or not all(part["is_whole"] for part in parts)):
        problems.append(f"the last {missing_s:.1f} s are missing")
    elif any(part["is_whole"] is False for part in parts):
        problems.append("the file ends in the middle of a packet: its end is missing")
    return [*problems, *sorted({part["goes_on_in"] for part in parts if part["goes_on_in"]})]


def _missing_s(parts: Sequence[dict[str, Any]], duration_s: float, *, has_complaint: bool) -> float:
    """Returns the seconds missing after the last frame by the container's duration; 0 within tolerance."""
    missing_s = max(part["expected_s"] or 0.0 for part in parts) - duration_s
    tolerance_s = max(part["tolerance_s"] or 0.0 for part in parts)
    return missing_s if missing_s > (min(tolerance_s, _DOUBTFUL_S) if has_complaint else tolerance_s) else 0.0


def _joined(reasons: Sequence[str | None]) -> str:
    return redact("; ".join(reason for reason in reasons if reason))
