"""The Spark tasks of planning and extraction: Arrow batches in, Arrow batches out.

In a separate module, so that a worker does not import pyspark.ml and pandas, which takes most of a second.
"""

import functools
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from framewatch.errors import VideoError
from framewatch.io import access, storage
from framewatch.video.outcome import combined
from framewatch.video.process import DecoderProcess

# Rows of an Arrow batch: 32 JPEG frames of CCTV take a few megabytes.
_ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Sampling:
    """How frames are sampled and stored.

    Attributes:
        fps: samples per second.
        jpeg_quality: 1 to 100.
        max_side: maximum length of the longer side, pixels; 0 for no limit.
        timeout_s: seconds after which decoding a part of a video is aborted.
        tolerance_s: if above 0, takes the keyframe nearest to each sample within this many seconds.
        decode_all: whether to decode all frames, which finds all damage.
        keep: which pictures are stored: `full`, `thumbnails`, or `none`.
        burst: pictures of each sample's burst, itself included.
        burst_step_s: seconds from one picture of a burst to the next.
    """

    fps: float = 1.0
    jpeg_quality: int = 95
    max_side: int = 0
    timeout_s: float = 3600.0
    tolerance_s: float = 0.0
    decode_all: bool = False
    keep: str = "full"
    burst: int = 1
    burst_step_s: float = 0.2

    def metadata(self) -> dict[str, Any]:
        """Returns the metadata of column `content`; frames with different metadata are not mixed."""
        is_full = self.keep == "full"
        required = {"fps": float(self.fps), **({"jpeg_quality": self.jpeg_quality} if is_full else {})}
        optional = {"max_side": self.max_side, "keyframes_within_s": self.tolerance_s}
        kept = {} if is_full else {"keep": self.keep}
        bursts = {"burst": self.burst, "burst_step_s": float(self.burst_step_s)} if self.burst > 1 else {}
        return {**required, **{name: value for name, value in optional.items() if value}, **kept, **bursts}


def kept_pictures(metadata: Mapping[str, Any]) -> str:
    """Returns which pictures a table of frames holds, from the metadata of its column `content`."""
    return metadata.get("keep", "full")


@dataclass(frozen=True)
class NetworkInput:
    """The pixels of a sample that a network needs.

    Attributes:
        size: width and height, pixels.
        method: how pictures are resized, as for `images.resize`.
        max_pixels: larger pictures are not resized.
    """

    size: int
    method: str
    max_pixels: int


@functools.lru_cache(maxsize=1)
def decoder() -> DecoderProcess:
    """Returns the decoder of this process."""
    return DecoderProcess()


def plan_batches(
    batches: Iterator[pa.RecordBatch], *, schema: pa.Schema, chunk_s: float, timeout_s: float
) -> Iterator[pa.RecordBatch]:
    """Opens each `video`; yields its `duration_s` and whether it is `splittable`."""
    for batch in batches:
        rows = [
            {"video": row["video"], **_plan(row["video"], chunk_s, timeout_s)} for row in batch.to_pylist()
        ]
        yield pa.RecordBatch.from_pylist(rows, schema)


def _plan(video: str, chunk_s: float, timeout_s: float) -> dict[str, Any]:
    """Returns the plan of a video; empty on failure, which extraction will report."""
    request = {"task": "plan", "source": storage.readable(video), "chunk_s": chunk_s}
    try:
        for header, _ in decoder().run(request, timeout_s=timeout_s):
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
    """Decodes parts of videos; yields one row per frame, and after each part one row with its `outcome`."""
    access.set_access(file_access)
    rows = part_rows(_rows(batches), sampling, images_root, write_images=write_images)
    return _in_batches(rows, schema)


def frame_batches(
    batches: Iterator[pa.RecordBatch],
    *,
    schema: pa.Schema,
    outcome_names: Sequence[str],
    sampling: Sampling,
    images_root: str,
) -> Iterator[pa.RecordBatch]:
    """Decodes whole videos; yields one row per frame, and a row with `error` for each video that is not `ok`.

    Args:
        batches: rows of `PARTS`, each a whole video.
        schema: schema of the result.
        outcome_names: fields of an outcome, which are null if decoding fails.
        sampling: how frames are taken.
        images_root: directory that origins are relative to.
    """
    rows = part_rows(_rows(batches), sampling, images_root)
    return _in_batches(_with_errors(rows, outcome_names), schema)


def _with_errors(rows: Iterator[dict[str, Any]], outcome_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Replaces the row of an outcome by one with its `error`, if it has one."""
    for row in rows:
        outcome = row.pop("outcome", None)
        if outcome is None:
            yield row
        elif error := combined([{**dict.fromkeys(outcome_names), **outcome}]).get("error"):
            yield {**row, "error": error}


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    return (row for batch in batches for row in batch.to_pylist())


def part_rows(
    parts: Iterable[Mapping[str, Any]],
    sampling: Sampling,
    images_root: str,
    *,
    write_images: bool = False,
    network_input: NetworkInput | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Decodes parts of videos; yields one row per frame, and after each part one row with its `outcome`.

    Args:
        parts: rows of `PARTS`.
        sampling: how frames are taken.
        images_root: directory that origins are relative to.
        write_images: whether to also write each JPEG to the path in its `origin`.
        network_input: the pixels to add to each frame, as `pixels`, or the reason for their lack, as `error`.
    """
    for part in parts:
        prefix = storage.join(images_root, part["name"])
        yield from _extract_part(
            part, prefix, sampling, write_images=write_images, network_input=network_input
        )


def _in_batches(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(some, schema)


def extraction_request(
    part: Mapping[str, Any], sampling: Sampling, *, network_input: NetworkInput | None = None
) -> dict[str, Any]:
    """Returns the request to the decoding process for the samples of a part."""
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
        "keep": sampling.keep,
    }
    if network_input is None:
        return request
    bursts = {"burst": sampling.burst, "burst_step_s": sampling.burst_step_s} if sampling.burst > 1 else {}
    return {**request, **bursts, "network_input": asdict(network_input)}


def _extract_part(
    part: Mapping[str, Any],
    prefix: str,
    sampling: Sampling,
    *,
    write_images: bool,
    network_input: NetworkInput | None,
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a part's frames, then its outcome. Failures become outcomes, not exceptions."""
    request = extraction_request(part, sampling, network_input=network_input)
    num_frames, outcome = 0, {}
    try:
        for header, data in decoder().run(request, timeout_s=sampling.timeout_s):
            if "outcome" in header:
                outcome = header["outcome"]
            else:
                row = _frame_row(header, data, part["video"], prefix)
                if write_images:
                    storage.write_bytes(row["origin"], row["content"])
                if network_input is not None:
                    row |= {"pixels": data[header["jpeg_bytes"] :], "error": header["error"]}
                    row |= {"motion": header.get("motion")}
                num_frames += 1
                yield row
    except VideoError as error:
        outcome = {"failure": str(error)}
    except OSError as error:
        reason = f"a picture cannot be written: {error.strerror or error} ({error.filename})"
        outcome = {"failure": reason, "unreadable": True}
    full_outcome = {"complaint": decoder().last_error(), **outcome, "num_frames": num_frames}
    yield {"video": part["video"], "outcome": full_outcome, "content": None}


def _frame_row(header: dict[str, Any], data: bytes, video: str, prefix: str) -> dict[str, Any]:
    return {
        "origin": f"{prefix}frame{header['index']:04d}.jpg",
        "video": video,
        "frame_index": header["index"],
        "timestamp_s": header["timestamp_s"],
        "width": header["width"],
        "height": header["height"],
        "content": data[: header["jpeg_bytes"]] or None,
    }
