"""Reads the results of the last `classify` with Arrow. Does not import Spark."""

from collections import defaultdict
from typing import Any

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.io.command import command
from framewatch.io.redact import redact
from framewatch.prompts.class_clips import ClassClip
from framewatch.prompts.response import Given, PromptClip, VideoClasses
from framewatch.tables.results import open_table

_ABOUT = "classification.json"


def write_about(output: str, about: dict[str, Any]) -> None:
    """Writes classification.json: request, settings and counts. Written last, it marks complete tables."""
    storage.write_json(storage.join(output, _ABOUT), redact(about))


def delete_about(output: str) -> None:
    """Deletes classification.json, which marks the tables as incomplete."""
    storage.delete(storage.join(output, _ABOUT))


def read_summary(output: str) -> dict[str, Any]:
    """Reads classification.json: request, settings and counts.

    Raises:
        InputError: the output has no complete classification.
    """
    try:
        return storage.read_json(storage.join(output, _ABOUT))
    except FileNotFoundError as error:
        raise InputError(
            f"nothing has been classified in {output}: run {command('classify', output, '--classes', 'FILE')}"
        ) from error


def read_found(output: str) -> list[VideoClasses]:
    """Reads the videos with a class, highest score first.

    Raises:
        InputError: the output has no complete classification.
    """
    read_summary(output)
    clips: dict[tuple[str, str], list[PromptClip]] = defaultdict(list)
    for row in open_table(output, "class_clips").to_table().to_pylist():
        clip = ClassClip(row["start_s"], row["end_s"], row["score"])
        clips[row["video"], row["class"]].append(PromptClip(row["prompt"], clip))
    given: dict[str, list[Given]] = defaultdict(list)
    for row in open_table(output, "classifications").to_table().to_pylist():
        found_clips = clips[row["video"], row["class"]]
        found_clips.sort(key=lambda it: (-it.clip.score, it.clip.start_s, it.prompt))
        given[row["video"]].append(
            Given(row["class"], row["score"], row["duration_ratio"], tuple(found_clips), row["calibrated"])
        )
    return in_order(given)


def read_classified_videos(output: str) -> set[str]:
    """Returns the URIs of the videos with a class."""
    return set(open_table(output, "classifications").to_table(columns=["video"])["video"].to_pylist())


def in_order(given: dict[str, list[Given]]) -> list[VideoClasses]:
    """Sorts classes by score within each video, and videos by their best class; equal scores by name.

    Args:
        given: the classes of each video, by URI.
    """
    found = [
        VideoClasses(video, tuple(sorted(classes, key=lambda it: (-it.score, it.name))))
        for video, classes in given.items()
    ]
    return sorted(found, key=lambda it: (-it.classes[0].score, it.video))
