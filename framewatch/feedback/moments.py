"""Moments: the units of review, which are the incidents and single frames outside incidents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framewatch.feedback.loop import Footage
from framewatch.io import logs
from framewatch.tables.results import Results, read_vectors

_NONE = -1
_log = logs.get("review")


@dataclass(frozen=True)
class Moments:
    """All moments: the incidents in order of rank, followed by the single frames in order of rank.

    Attributes:
        names: URIs of the videos.
        videos: (n,) indices into `names`.
        starts_s: (n,) float64.
        ends_s: (n,) float64, exclusive.
        peaks_s: (n,) timestamp of the frame with the highest probability, in seconds.
        prob2: (n,) probability of that frame when it was ranked.
        num_frames: (n,) number of suspicious frames.
        kinds: (n,) the kind of event, or None.
        num_incidents: number of incidents, which come first.
        origins: (n,) strings, the origins of the peak frames.
        rows: (n,) the row of the peak in the footage; -1 if its features are not loaded.
        audit: indices of the moments of the audit sample, in the order of drawing.
        by_video: (n,) indices of moments, sorted by video and start.
    """

    names: list[str]
    videos: np.ndarray
    starts_s: np.ndarray
    ends_s: np.ndarray
    peaks_s: np.ndarray
    prob2: np.ndarray
    num_frames: np.ndarray
    kinds: np.ndarray
    num_incidents: int
    origins: pa.ChunkedArray
    rows: np.ndarray
    audit: np.ndarray
    by_video: np.ndarray

    def __len__(self) -> int:
        return len(self.videos)

    def of_video(self, number: int) -> np.ndarray:
        """Returns the indices of the moments of a video, sorted by start."""
        ordered = self.videos[self.by_video]
        return self.by_video[np.searchsorted(ordered, number) : np.searchsorted(ordered, number, "right")]


def read_moments(results: Results) -> tuple[Moments, Footage]:
    """Reads incidents and candidates.

    Returns:
        The moments, and the frames with features; `Moments.rows` maps moments to rows of the footage.
    """
    incidents = results.incidents()
    names = [row["video"] for row in results.videos()]
    number_of = {name: number for number, name in enumerate(names)}
    candidates, videos, vectors = _read_candidates(results, number_of)
    times = _numbers(candidates, "timestamp_s")
    footage = Footage(vectors, videos, times)
    incident, rank = _numbers(candidates, "incident", _NONE), _numbers(candidates, "rank")
    single = np.flatnonzero(incident == _NONE)
    single = single[np.argsort(rank[single], kind="stable")]
    rows = np.full(len(incidents) + len(single), _NONE)
    of_incidents = np.flatnonzero(incident != _NONE)
    rows[incident[of_incidents].astype(int) - 1] = of_incidents
    rows[len(incidents) :] = single
    all_videos = np.append(_video_numbers(incidents, number_of), videos[single])
    starts_s = np.append(_numbers(incidents, "start_s"), times[single])
    moments = Moments(
        names=names,
        videos=all_videos,
        starts_s=starts_s,
        ends_s=np.append(_numbers(incidents, "end_s"), _numbers(candidates, "end_s")[single]),
        peaks_s=np.append(_numbers(incidents, "peak_s"), times[single]),
        prob2=np.nan_to_num(
            np.append(_numbers(incidents, "peak_prob2"), _numbers(candidates, "prob2")[single])
        ),
        num_frames=np.append(_numbers(incidents, "num_frames"), np.ones(len(single))).astype(int),
        kinds=np.append(_texts(incidents, "kind"), _texts(candidates, "kind")[single]),
        num_incidents=len(incidents),
        origins=pa.chunked_array(
            [*incidents["peak_origin"].chunks, *candidates["origin"].take(pa.array(single)).chunks],
            pa.string(),
        ),
        rows=rows,
        audit=_audit_order(candidates, rows),
        by_video=np.lexsort((starts_s, all_videos)),
    )
    return moments, footage


def _read_candidates(results: Results, number_of: dict[str, int]) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Returns the candidates with finite features by video and time, their video numbers, and features."""
    candidates = results.read(
        "candidates",
        ["origin", "video", "timestamp_s", "end_s", "prob2", "rank", "incident", "audit", "kind"],
    )
    candidates, videos = _in_order(candidates, number_of)
    vectors = read_vectors(results.dataset("candidates"), candidates["origin"].to_pylist())
    usable = np.isfinite(vectors).all(axis=1) & np.isfinite(_numbers(candidates, "prob2"))
    if usable.all():
        return candidates, videos, vectors
    _log.warning("%d candidates have no finite features: rank again", np.count_nonzero(~usable))
    return candidates.filter(pa.array(usable)), videos[usable], vectors[usable]


def _in_order(candidates: pa.Table, number_of: dict[str, int]) -> tuple[pa.Table, np.ndarray]:
    videos = _video_numbers(candidates, number_of)
    order = np.lexsort((_numbers(candidates, "timestamp_s"), videos))
    return candidates.take(pa.array(order)), videos[order]


def _video_numbers(table: pa.Table, number_of: dict[str, int]) -> np.ndarray:
    encoded = table["video"].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    numbers = np.array([number_of[name] for name in encoded.dictionary.to_pylist()], int)
    return numbers[encoded.indices.to_numpy(zero_copy_only=False)] if len(table) else np.zeros(0, int)


def _numbers(table: pa.Table, name: str, missing: Any = None) -> np.ndarray:
    column = table[name] if missing is None else table[name].fill_null(missing)
    return column.to_numpy(zero_copy_only=False)


def _texts(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table[name].to_pylist(), object)


def _audit_order(candidates: pa.Table, rows: np.ndarray) -> np.ndarray:
    """Returns the moments of the audit sample in the order of drawing, by ascending hash."""
    moment_of_row = np.full(len(candidates), _NONE)
    moment_of_row[rows[rows != _NONE]] = np.flatnonzero(rows != _NONE)
    drawn = np.flatnonzero(candidates["audit"].is_valid().to_numpy(zero_copy_only=False))
    hashes = candidates["audit"].take(pa.array(drawn)).to_numpy(zero_copy_only=False)
    return moment_of_row[drawn[np.argsort(hashes, kind="stable")]]
