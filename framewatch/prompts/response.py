"""Builds the JSON response, page by page, in the format of video classification APIs."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from framewatch.errors import InputError
from framewatch.prompts.class_clips import ClassClip


@dataclass(frozen=True)
class PromptClip:
    """A clip of a class, and the prompt that matches it best."""

    prompt: str
    clip: ClassClip


@dataclass(frozen=True)
class Given:
    """A class found in a video.

    Attributes:
        name: name of the class.
        score: score of the class for the video, 0 to 100.
        duration_ratio: share of the video that the class's clips cover, 0 to 1.
        clips: the class's clips, highest score first.
        calibrated: whether the score is a probability fitted to labels.
    """

    name: str
    score: float
    duration_ratio: float
    clips: tuple[PromptClip, ...] = ()
    calibrated: bool = False

    def to_json(self, *, include_clips: bool) -> dict[str, Any]:
        """Returns the class as in the response, with clips if `include_clips`."""
        found = {
            "name": self.name,
            "score": round(self.score, 2),
            "duration_ratio": round(self.duration_ratio, 4),
            "calibrated": self.calibrated,
        }
        return found | ({"clips": [_clip_json(clip) for clip in self.clips]} if include_clips else {})


@dataclass(frozen=True)
class VideoClasses:
    """A video and its classes, highest score first."""

    video: str
    classes: tuple[Given, ...]


def make_response(
    found: Sequence[VideoClasses], *, include_clips: bool, limit: int, token: str | None = None
) -> dict[str, Any]:
    """Returns one page of the response; docs/reference/classifications.schema.json describes the format.

    Args:
        found: all results, in the same order for every page.
        include_clips: whether to list clips.
        limit: number of results on a page.
        token: the page's token, from the previous page; None for the first page.

    Raises:
        InputError: the limit is not positive, or the token does not belong to these results.
    """
    if limit < 1:
        raise InputError(f"page limit {limit} is not valid: give 1 or more")
    first = 0 if token is None else _first(token, found)
    after = first + limit
    return {
        "data": [
            {
                "video_id": result.video,
                "classes": [given.to_json(include_clips=include_clips) for given in result.classes],
            }
            for result in found[first:after]
        ],
        "page_info": {
            "limit_per_page": limit,
            "total_results": len(found),
            "next_page_token": _token(after, found) if after < len(found) else None,
        },
    }


def _clip_json(it: PromptClip) -> dict[str, Any]:
    clip = it.clip
    return {
        "start": round(clip.start_s, 3),
        "end": round(clip.end_s, 3),
        "prompt": it.prompt,
        "score": round(clip.score, 2),
    }


def _token(first: int, found: Sequence[VideoClasses]) -> str:
    return base64.urlsafe_b64encode(f"{first}:{_digest(found)}".encode()).decode().rstrip("=")


def _first(token: str, found: Sequence[VideoClasses]) -> int:
    """Returns the index of a page's first result.

    A token of other results is rejected, because its page would repeat or skip some of these.
    """
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
        number, _, digest = text.partition(":")
        first = int(number)
    except (ValueError, binascii.Error):
        first, digest = 0, ""
    if digest != _digest(found) or not 0 < first < len(found):
        raise InputError(f"page token '{token}' is not of these results: begin again, without one")
    return first


def _digest(found: Sequence[VideoClasses]) -> str:
    lines = [[result.video, [[given.name, given.score] for given in result.classes]] for result in found]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]
