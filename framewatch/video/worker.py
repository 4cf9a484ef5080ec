"""What a task does with the parts of videos that it is given: Arrow batches in, Arrow batches out.

Apart from `frames`, so that a worker imports neither pyspark.ml nor pandas, which takes it most of a second.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from framewatch.errors import VideoError
from framewatch.io import access, storage
from framewatch.video.outcome import combined
from framewatch.video.process import DecoderProcess

# Rows that travel to Spark at once: 32 JPEGs of CCTV are a few megabytes.
_ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Sampling:
    """How frames are taken and kept.

    Attributes:
        fps: samples a second.
        jpeg_quality: 1 to 100.
        max_side: the longer side of larger frames, pixels; 0 for any.
        timeout_s: what one task may take of a video before it is given up.
        tolerance_s: above 0, the keyframe nearest to each sample's time is taken, if it is this near.
        decode_all: decode also what no sample needs, so that all damage is found.
    """

    fps: float = 1.0
    jpeg_quality: int = 95
    max_side: int = 0
    timeout_s: float = 3600.0
    tolerance_s: float = 0.0
    decode_all: bool = False

    def metadata(self) -> dict[str, float]:
        """What the metadata of `content` says: frames that differ in it are not mixed."""
        told: dict[str, float] = {"fps": float(self.fps), "jpeg_quality": self.jpeg_quality}
        more = {"max_side": self.max_side, "keyframes_within_s": self.tolerance_s}
        return {**told, **{name: value for name, value in more.items() if value}}


@functools.lru_cache(maxsize=1)
def _decoder() -> DecoderProcess:
    return DecoderProcess()


def plan_batches(
    batches: Iterator[pa.RecordBatch], *, schema: pa.Schema, chunk_s: float, timeout_s: float
) -> Iterator[pa.RecordBatch]:
    """Opens each `video`, and tells its `duration_s` and whether it is `splittable`."""
    for batch in batches:
        rows = [
            {"video": row["video"], **_plan(row["video"], chunk_s, timeout_s)} for row in batch.to_pylist()
        ]
        yield pa.RecordBatch.from_pylist(rows, schema)


def _plan(video: str, chunk_s: float, timeout_s: float) -> dict[str, Any]:
    """What fails here fails again, and is told, when the video is extracted."""
    request = {"task": "plan", "source": storage.readable(video), "chunk_s": chunk_s}
    try:
        for header, _ in _decoder().run(request, timeout_s=timeout_s):
            return header["outcome"]
    except VideoError:
        pass
    return {}


def extract_batches(
    batches: Iterator[pa.RecordBatch],
    *,
    schema: pa.Schema,
    sampling: Sampling,
    images_root: str,
    write_images: bool,
    file_access: str = "private",
) -> Iterator[pa.RecordBatch]:
    """Decodes parts of videos: a row a frame, and behind each part one row with its `outcome`."""
    access.set_access(file_access)
    pending: list[dict[str, Any]] = []
    for batch in batches:
        for part in batch.to_pylist():
            prefix = storage.join(images_root, part["name"])
            for row in _extract_part(part, prefix, sampling, write_images=write_images):
                pending.append(row)
                if len(pending) == _ROWS_AT_ONCE:
                    yield pa.RecordBatch.from_pylist(pending, schema)
                    pending = []
    if pending:
        yield pa.RecordBatch.from_pylist(pending, schema)


def frame_batches(
    batches: Iterator[pa.RecordBatch], *, schema: pa.Schema, part_schema: pa.Schema, sampling: Sampling
) -> Iterator[pa.RecordBatch]:
    """Decodes whole videos: a row per frame, and a row with `error` for each video that is not `ok`.

    Args:
        batches: rows of `PARTS`, each a whole video.
        schema: of the rows that come out.
        part_schema: of the rows that `extract_batches` gives.
        sampling: how frames are taken.
    """
    extracted = extract_batches(
        batches, schema=part_schema, sampling=sampling, images_root="images", write_images=False
    )
    for batch in extracted:
        rows = []
        for row in batch.to_pylist():
            outcome = row.pop("outcome")
            error = combined([outcome]).get("error") if outcome else None
            if error or not outcome:
                rows.append({**row, "error": error})
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema)


def _extract_part(
    part: dict[str, Any], prefix: str, sampling: Sampling, *, write_images: bool
) -> Iterator[dict[str, Any]]:
    """Rows of a part's frames, then its outcome; a failure is an outcome too, never an exception."""
    request = {
        "task": "extract",
        "source": storage.readable(part["video"]),
        "first": part["first"],
        "stop": part["stop"],
        "fps": sampling.fps,
        "jpeg_quality": sampling.jpeg_quality,
        "max_side": sampling.max_side,
        "tolerance_s": sampling.tolerance_s,
        "decode_all": sampling.decode_all,
    }
    num_frames, outcome = 0, {}
    try:
        for header, jpeg in _decoder().run(request, timeout_s=sampling.timeout_s):
            if "outcome" in header:
                outcome = header["outcome"]
            else:
                row = _frame_row(header, jpeg, part["video"], prefix)
                if write_images:
                    storage.write_bytes(row["origin"], jpeg)
                num_frames += 1
                yield row
    except VideoError as error:
        outcome = {"failure": str(error)}
    except OSError as error:
        reason = f"a picture cannot be written: {error.strerror or error} ({error.filename})"
        outcome = {"failure": reason, "unreadable": True}
    told = {"complaint": _decoder().last_complaint(), **outcome, "num_frames": num_frames}
    yield {"video": part["video"], "outcome": told, "content": None}


def _frame_row(header: dict[str, Any], jpeg: bytes, video: str, prefix: str) -> dict[str, Any]:
    return {
        "origin": f"{prefix}frame{header['index']:04d}.jpg",
        "video": video,
        "frame_index": header["index"],
        "timestamp_s": header["timestamp_s"],
        "width": header["width"],
        "height": header["height"],
        "content": jpeg,
    }
