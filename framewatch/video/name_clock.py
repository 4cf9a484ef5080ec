"""Reads from a video's name when it begins, such as `cam1_20261122T083000.mp4`."""

import re
from datetime import UTC, datetime

from framewatch.io.storage import basename

# 2026-11-22_08-30-00, 20261122T083000, and the like.
_CLOCK = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)[T_ -]*([0-2]\d)[-_.:h]?([0-5]\d)[-_.:m]?([0-5]\d)(?!\d)"
)


def clock_of(video: str) -> float | None:
    """Returns the second of the day at which a video begins; None if its name has no clock."""
    match = _CLOCK.search(basename(video))
    if match is None:
        return None
    hours, minutes, seconds = (int(match.group(number)) for number in (5, 6, 7))
    return float(hours * 3600 + minutes * 60 + seconds) if hours < 24 else None


def start_of(video: str) -> float | None:
    """Returns when a video begins, in seconds since 1970 on the camera's clock; None if its name has none."""
    match, clock_s = _CLOCK.search(basename(video)), clock_of(video)
    if match is None or clock_s is None:
        return None
    year, month, day = (int(match.group(number)) for number in (1, 3, 4))
    try:
        return datetime(year, month, day, tzinfo=UTC).timestamp() + clock_s
    except ValueError:  # no such day
        return None
