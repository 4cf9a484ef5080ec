"""Reads the videos to index, their frames, and the frames' probabilities and labels, without Spark."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from framewatch.errors import InputError
from framewatch.feedback import VerdictLog, label_ranges
from framewatch.models.similarity import unit
from framewatch.search.moment_vectors import Frames
from framewatch.tables.feature_files import FeatureFiles, camera, vectors
from framewatch.tables.ledger import latest_rows
from framewatch.tables.results import Results, open_table, read_videos
from framewatch.tables.timeline import find_video
from framewatch.video.name_clock import clock_of

_DAY_S = 86_400.0
# What changes in the ledger when a video is read again; its batch may change without that.
_VERSION = ("size_bytes", "modified_at", "attempts", "status", "num_frames")


@dataclass(frozen=True)
class SourceVideo:
    """A video to index.

    Attributes:
        uri: URI of the video.
        paths: the files of `features` that contain its rows.
        clock_s: second of the day at which the video begins, from its name; None if unknown.
        version: a hash that changes if the video's frames, its features or the settings change.
        values: a hash that changes if the probabilities or labels of its frames change.
    """

    uri: str
    paths: tuple[str, ...]
    clock_s: float | None
    version: str
    values: str = ""


@dataclass(frozen=True)
class Known:
    """Probabilities and labels of frames.

    Attributes:
        probabilities: P(suspicious) by origin.
        labels: (timestamp_s, label) of labelled frames, by video URI.
        ranges: (start_s, end_s, label) of verdicts, by video URI.
    """

    probabilities: Mapping[str, float]
    labels: Mapping[str, Sequence[tuple[float, float]]]
    ranges: Mapping[str, Sequence[tuple[float, float, float]]]


def read_indexed_videos(
    output: str, features: FeatureFiles, *, settings: str | None = None
) -> list[SourceVideo]:
    """Returns the videos with features, in order of URI.

    Args:
        output: the output directory.
        features: the files of `features`.
        settings: `About.settings` of the index, which are part of each video's version. If None,
            probabilities and labels are not read, and `values` is empty.
    """
    ledger = latest_rows(read_videos(output, ["video", "batch", *_VERSION]).to_pylist())
    digests = {} if settings is None else _digests(output)
    found = []
    for uri, paths in features.videos.items():
        row = ledger.get(uri, {})
        parts = (settings, *(row.get(name) for name in _VERSION))
        version = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        found.append(SourceVideo(uri, paths, clock_of(uri), version, digests.get(uri, "")))
    return found


def read_known(output: str, videos: Sequence[str]) -> Known:
    """Reads the probabilities and labels of videos' frames; empty before the first ranking and verdict."""
    labels: Mapping[str, Sequence[tuple[float, float]]] = {}
    probabilities: dict[str, float] = {}
    results = _results(output)
    if results is not None:
        rows = results.read("predictions", ["origin", "prob2"], videos=list(videos))
        probabilities = dict(zip(rows["origin"].to_pylist(), rows["prob2"].to_pylist(), strict=True))
        labels = results.known_labels()
    return Known(probabilities, labels, _ranges(output))


def read_video_frames(features: FeatureFiles, video: SourceVideo, known: Known) -> Frames:
    """Reads the frames of a video that have features, in order of time."""
    origins: list[str] = []
    times, found = [], []
    for path in video.paths:
        for rows in features.read(path, ["origin", "timestamp_s", "features"], video=video.uri):
            numbers, valid = vectors(rows["features"])
            if not valid.any():
                continue
            found.append(numbers)
            origins += np.array(rows["origin"].to_pylist(), object)[valid].tolist()
            times.append(rows["timestamp_s"].to_numpy(zero_copy_only=False)[valid])
    times_s = np.concatenate(times) if times else np.zeros(0)
    order = np.argsort(times_s, kind="stable")
    origins = [origins[place] for place in order]
    rows_of = np.concatenate(found)[order] if found else np.zeros((0, 0), np.float32)
    probabilities = np.array([known.probabilities.get(origin, np.nan) for origin in origins], float)
    return Frames(
        video.uri,
        origins,
        times_s[order],
        probabilities,
        labels_of(video.uri, times_s[order], known),
        unit(rows_of) if len(rows_of) else rows_of,
    )


def labels_of(video: str, times_s: np.ndarray, known: Known) -> np.ndarray:
    """Returns (n,) labels of a video's frames, NaN if unknown; verdicts replace hand labels.

    Args:
        video: URI of the video.
        times_s: (n,) times of its frames in seconds.
        known: the labels.
    """
    found = np.full(len(times_s), np.nan)
    for second, label in known.labels.get(video, ()):
        found[np.abs(times_s - second) < 1e-6] = label
    for start_s, end_s, label in known.ranges.get(video, ()):
        found[(times_s >= start_s - 1e-6) & (times_s < end_s - 1e-6)] = label
    return found


def _results(output: str) -> Results | None:
    try:
        return Results(output)
    except InputError:  # nothing is ranked yet
        return None


def _ranges(output: str) -> dict[str, list[tuple[float, float, float]]]:
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for video, start_s, end_s, label in label_ranges(VerdictLog(output).verdicts()):
        found[video].append((start_s, end_s, label))
    return found


def _digests(output: str) -> dict[str, str]:
    """Returns a hash of all probabilities and labels of each video."""
    digests: dict[str, Any] = defaultdict(hashlib.sha256)
    results = _results(output)
    if results is not None:
        for video, total in _totals(results).items():
            digests[video].update(str(total).encode())
        for video, labels in results.known_labels().items():
            digests[video].update(repr(labels).encode())
    for video, ranges in _ranges(output).items():
        digests[video].update(repr(ranges).encode())
    return {video: digest.hexdigest()[:12] for video, digest in digests.items()}


def _totals(results: Results) -> dict[str, int]:
    """Returns the sum of the hashes of each video's probabilities, which does not depend on their order."""
    import pandas as pd

    totals: dict[str, int] = defaultdict(int)
    for batch in results.dataset("predictions").to_batches(columns=["video", "origin", "prob2"]):
        frame = pa.Table.from_batches([batch]).to_pandas()
        hashes = pd.util.hash_pandas_object(frame[["origin", "prob2"]], index=False)
        for video, total in hashes.groupby(frame["video"]).sum().items():
            totals[str(video)] = (totals[str(video)] + int(total)) % (1 << 64)
    return totals


def at_clock(clock_s: float | None, starts_s: np.ndarray) -> np.ndarray:
    """Returns (n,) seconds of the day of moments; NaN if unknown.

    Args:
        clock_s: second of the day at which the video begins; None if unknown.
        starts_s: (n,) starts of the moments, in seconds from the video's first frame.
    """
    if clock_s is None:
        return np.full(len(starts_s), np.nan)
    return (clock_s + starts_s) % _DAY_S


def parse_day(text: str) -> float:
    """Parses `22:30` or `22:30:15` to a second of the day.

    Raises:
        InputError: the text has another form.
    """
    for pattern in ("%H:%M", "%H:%M:%S"):
        try:
            parsed = datetime.strptime(text.strip(), pattern)
        except ValueError:
            continue
        return float(parsed.hour * 3600 + parsed.minute * 60 + parsed.second)
    raise InputError(f"'{text}' is no time of day: give hours and minutes, such as 22:30")


def find_videos(output: str, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the URIs of videos in the ledger.

    Args:
        output: the output directory.
        names: URIs, or unique ends of them.

    Raises:
        InputError: no video or several match a name.
    """
    if not names:
        return ()
    ledger = open_table(output, "videos").to_table(columns=["video", "duration_s"]).to_pylist()
    return tuple(find_video(ledger, name)[0] for name in names)


def find_cameras(output: str, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the cameras, directories of videos, that match names.

    Args:
        output: the output directory.
        names: directories, or ends of them; one name may match several cameras.

    Raises:
        InputError: no camera matches a name.
    """
    if not names:
        return ()
    videos = open_table(output, "videos").to_table(columns=["video"])["video"].unique().to_pylist()
    cameras = sorted({camera(video) for video in videos})
    found: dict[str, None] = {}
    for name in names:
        wanted = name.rstrip("/")
        matching = [
            candidate
            for candidate in cameras
            if candidate == wanted or candidate.endswith("/" + wanted.lstrip("/"))
        ]
        if not matching:
            shown = ", ".join(cameras[:5])
            raise InputError(f"no camera '{name}' is in the ledger: its videos lie in {shown}")
        found |= dict.fromkeys(matching)
    return tuple(found)
