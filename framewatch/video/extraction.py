"""What the decoding process does with a request: the plan of a video, or the samples of a part of it."""

from collections.abc import Iterator
from typing import Any

from framewatch.images import encode_jpeg
from framewatch.video.decoder import Decoding
from framewatch.video.keyframes import KeyframeDecoding
from framewatch.video.probe import OpenVideo

Answer = tuple[dict[str, Any], bytes]


def answer(request: dict[str, Any]) -> Iterator[Answer]:
    """Answers one request; the last answer has `outcome`. A failure is an outcome too, never an exception."""
    task = _plan if request.pop("task") == "plan" else _extract
    try:
        yield from task(**request)
    except Exception as error:
        # Whatever a decoder makes of a damaged file, it must cost that file only.
        yield {"outcome": {"failure": _reason(error)}}, b""


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _plan(source: str) -> Iterator[Answer]:
    with OpenVideo(source) as video:
        splittable = video.info.has_index or _has_one_clock(video)
        yield {"outcome": {"duration_s": video.info.duration_s, "splittable": splittable}}, b""


def _has_one_clock(video: OpenVideo) -> bool:
    """Whether every packet has a time of its own, and decoding times only grow.

    Where they do not (files put end to end, and program streams whose small frames share a time), the
    time of a frame depends on all frames before it. Reads the file through, without decoding it.
    """
    times: set[int] = set()
    last: int | None = None
    for packet in video.container.demux(video.stream):
        if packet.size == 0:  # the last, which flushes decoders
            continue
        if packet.pts is None or packet.pts in times or (last is not None and packet.dts < last):
            return False
        times.add(packet.pts)
        last = packet.dts
    return bool(times)


def _extract(source: str, jpeg_quality: int, tolerance_s: float, **part: Any) -> Iterator[Answer]:
    if tolerance_s:
        part["tolerance_s"] = tolerance_s
    decoding = (KeyframeDecoding if tolerance_s else Decoding)(source, **part)
    failure = None
    try:
        for frame in decoding.samples():
            height, width = frame.image.shape[:2]
            header = {
                "index": frame.index,
                "timestamp_s": frame.timestamp_s,
                "width": width,
                "height": height,
            }
            yield header, encode_jpeg(frame.image, quality=jpeg_quality)
    except Exception as error:
        failure = _reason(error)
    info = decoding.info
    outcome = {
        "failure": failure,
        "damaged_packets": decoding.failures,
        "duration_s": decoding.duration_s,
        "expected_s": info.duration_s,
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "num_frames": decoding.num_samples,
    }
    yield {"outcome": outcome}, b""
