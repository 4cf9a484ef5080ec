"""Draws the sample set into a directory, once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import cv2

from framewatch.errors import InputError
from framewatch.io import atomic
from framewatch.samples.camera import FPS, HEIGHT, WIDTH
from framewatch.samples.encode import write_video
from framewatch.samples.render import frames
from framewatch.samples.script import Clip, Split
from framewatch.samples.stories import script

DEFAULT_SEED = 7
SPLITS: tuple[Split, ...] = ("train", "test")
_RECORD = "samples.json"
# Increase this when pictures or files change for the same seed, so that old sets are drawn again.
_FORMAT_VERSION = 1

OnClip = Callable[[Clip, int, int], None]


def draw_samples(
    directory: str | os.PathLike[str],
    *,
    seed: int = DEFAULT_SEED,
    workers: int | None = None,
    on_clip: OnClip | None = None,
) -> list[Clip]:
    """Write `train/` and `test/` videos and `labels_train.csv` and `labels_test.csv`.

    A directory that already contains this set is left unchanged.

    Args:
        directory: where to write; created if missing.
        seed: another seed gives other people, times and positions.
        workers: number of parallel processes; None for one per CPU core.
        on_clip: called as `on_clip(clip, done, total)` after each clip.

    Returns:
        The clips in the order of the script, train first.

    Raises:
        InputError: the directory cannot be written, or `workers` is below 1.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}; leave it out to use every core")
    clips, root = list(script(seed)), Path(directory)
    if _is_drawn(root, clips, seed):
        return clips
    try:
        _prepare(root)
        for done, clip in enumerate(_draw_all(root, clips, workers or os.cpu_count() or 1), start=1):
            if on_clip is not None:
                on_clip(clip, done, len(clips))
        for split in SPLITS:
            _write_text(root / f"labels_{split}.csv", labels_csv(clips, split))
        _write_text(root / _RECORD, json.dumps(_record(root, clips, seed), indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"cannot write samples to {root}: {error}; choose a directory with write permission"
        ) from error
    return clips


def labels_csv(clips: Iterable[Clip], split: Split) -> str:
    """Return the label file of one split: `video,start_s,end_s,label`, half-open ranges."""
    rows = [row for clip in clips if clip.split == split for row in clip.labels]
    lines = [f"{row.video},{row.start_s:.2f},{row.end_s:.2f},{row.label}" for row in rows]
    return "\n".join(["video,start_s,end_s,label", *lines]) + "\n"


def _prepare(root: Path) -> None:
    """Create the directories, and delete the record, so that an incomplete set is drawn again."""
    for split in SPLITS:
        (root / split).mkdir(parents=True, exist_ok=True)
    (root / _RECORD).unlink(missing_ok=True)


def _draw_all(root: Path, clips: list[Clip], workers: int) -> Iterator[Clip]:
    if workers == 1:
        for clip in clips:
            yield _draw_clip(clip, root)
        return
    # Spawn instead of fork, because the caller may have threads of TensorFlow or of a JVM.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        for future in as_completed([pool.submit(_draw_clip, clip, root) for clip in clips]):
            yield future.result()


def _draw_clip(clip: Clip, root: Path) -> Clip:
    write_video(frames(clip), _path(root, clip))
    return clip


def _path(root: Path, clip: Clip) -> Path:
    return root / clip.split / clip.file_name


def _record(root: Path, clips: list[Clip], seed: int) -> dict[str, object]:
    """Return the record that identifies a set: its parameters, and the size of every file."""
    files = [_path(root, clip) for clip in clips] + [root / f"labels_{split}.csv" for split in SPLITS]
    return {
        "format_version": _FORMAT_VERSION,
        "seed": seed,
        "fps": FPS,
        "width": WIDTH,
        "height": HEIGHT,
        "size_bytes": {path.relative_to(root).as_posix(): path.stat().st_size for path in files},
    }


def _is_drawn(root: Path, clips: list[Clip], seed: int) -> bool:
    try:
        return json.loads((root / _RECORD).read_text()) == _record(root, clips, seed)
    except (OSError, ValueError):
        return False


def _write_text(path: Path, text: str) -> None:
    with atomic.replacing(path) as part:
        part.write_text(text, encoding="utf-8")
