"""The answer: which classes each video has, in the shape that classification APIs gave it, page by page."""

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
    """A clip, and the prompt that it matches."""

    prompt: str
    clip: ClassClip


@dataclass(frozen=True)
class Given:
    """A class that a video has.

    Attributes:
        name: of the class.
        score: 0 to 100.
        duration_ratio: share of the video that its clips cover, 0 to 1.
        clips: the most similar first.
        calibrated: whether the score is a probability that was fitted to labels.
    """

    name: str
    score: float
    duration_ratio: float
    clips: tuple[PromptClip, ...] = ()
    calibrated: bool = False

    def to_json(self, *, include_clips: bool) -> dict[str, Any]:
        """As in the answer; clips only where they are asked for."""
        found = {
            "name": self.name,
            "score": round(self.score, 2),
            "duration_ratio": round(self.duration_ratio, 4),
            "calibrated": self.calibrated,
        }
        return found | ({"clips": [_clip_json(it) for it in self.clips]} if include_clips else {})


@dataclass(frozen=True)
class VideoClasses:
    """A video, and its classes, the best-scored first."""

    video: str
    classes: tuple[Given, ...]


def make_response(
    found: Sequence[VideoClasses], *, include_clips: bool, limit: int, token: str | None = None
) -> dict[str, Any]:
    """One page of an answer, as JSON; docs/reference/classifications.schema.json says what it holds.

    Args:
        found: all results, in an order that stays.
        include_clips: whether to list clips.
        limit: results on a page.
        token: of the page, as the one before it gave; None for the first.

    Raises:
        InputError: the limit is not positive, or the token is not of these results.
    """
    if limit < 1:
        raise InputError(f"page limit {limit} is not valid: give 1 or more")
    first = 0 if token is None else _first(token, found)
    after = first + limit
    return {
        "data": [
            {
                "video_id": it.video,
                "classes": [given.to_json(include_clips=include_clips) for given in it.classes],
            }
            for it in found[first:after]
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
    """The number of a page's first result. Of other results, a page would repeat some and skip others."""
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
    lines = [[it.video, [[given.name, given.score] for given in it.classes]] for it in found]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]
