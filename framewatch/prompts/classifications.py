"""What the last `classify` wrote, read with Arrow. No Spark in here."""

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
    """Keeps what was asked for; written last, it vouches for the tables."""
    storage.write_json(storage.join(output, _ABOUT), redact(about))


def delete_about(output: str) -> None:
    """Says that the tables are being written."""
    storage.delete(storage.join(output, _ABOUT))


def read_summary(output: str) -> dict[str, Any]:
    """What was asked for.

    Raises:
        InputError: nothing has been classified there.
    """
    try:
        return storage.read_json(storage.join(output, _ABOUT))
    except FileNotFoundError as error:
        raise InputError(
            f"nothing has been classified in {output}: run {command('classify', output, '--classes', 'FILE')}"
        ) from error


def read_found(output: str) -> list[VideoClasses]:
    """The videos with a class, the best-scored first.

    Raises:
        InputError: nothing has been classified there.
    """
    read_summary(output)
    clips: dict[tuple[str, str], list[PromptClip]] = defaultdict(list)
    for row in open_table(output, "class_clips").to_table().to_pylist():
        clip = ClassClip(row["start_s"], row["end_s"], row["score"])
        clips[row["video"], row["class"]].append(PromptClip(row["prompt"], clip))
    given: dict[str, list[Given]] = defaultdict(list)
    for row in open_table(output, "classifications").to_table().to_pylist():
        its = clips[row["video"], row["class"]]
        its.sort(key=lambda it: (-it.clip.score, it.clip.start_s, it.prompt))
        given[row["video"]].append(
            Given(row["class"], row["score"], row["duration_ratio"], tuple(its), row["calibrated"])
        )
    return in_order(given)


def read_classified_videos(output: str) -> set[str]:
    """Those that have a class."""
    return set(open_table(output, "classifications").to_table(columns=["video"])["video"].to_pylist())


def in_order(given: dict[str, list[Given]]) -> list[VideoClasses]:
    """Classes by score within a video, videos by their best class; what is equal by name."""
    found = [
        VideoClasses(video, tuple(sorted(classes, key=lambda it: (-it.score, it.name))))
        for video, classes in given.items()
    ]
    return sorted(found, key=lambda it: (-it.classes[0].score, it.video))
