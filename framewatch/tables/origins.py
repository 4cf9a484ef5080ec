"""Finds the videos that a frame may be of by the frame's name, so that not all files are searched for it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_FRAME = re.compile(r"frame\d+\.jpg$")


@dataclass(frozen=True)
class VideoNames:
    """The names of videos, without their directories.

    Attributes:
        videos: URIs by name.
        nameless: URIs of videos that have no name in the ledger, as older versions did not write it.
    """

    videos: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nameless: tuple[str, ...] = ()

    @staticmethod
    def of(rows: Iterable[Mapping[str, Any]]) -> "VideoNames":
        """Reads the names from rows of the ledger with `video` and `name`."""
        found: dict[str | None, dict[str, None]] = {}
        for row in rows:
            found.setdefault(row["name"] and _last(row["name"]), {})[row["video"]] = None
        nameless = tuple(found.pop(None, ()))
        return VideoNames({name: tuple(videos) for name, videos in found.items() if name}, nameless)

    def may_have(self, origin: str) -> tuple[str, ...]:
        """Returns the URIs of videos that may have a frame of this `origin`, or whose origin ends in it."""
        return self.videos.get(_FRAME.sub("", _last(origin)), ()) + self.nameless


def _last(path: str) -> str:
    return path.rpartition("/")[2]
