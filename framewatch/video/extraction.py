"""Handles the requests of the decoding process: plans a video, or extracts the samples of a part."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import av

from framewatch.errors import PictureError, UnreadableError, VideoError
from framewatch.io.images import check_size, encode_jpeg, resize, shrink_to
from framewatch.video.decoder import DecodedFrame, Decoding
from framewatch.video.groups import IrregularError, groups
from framewatch.video.keyframes import KeyframeDecoding
from framewatch.video.motion import burst_motion
from framewatch.video.probe import OpenVideo

# The longer side of a thumbnail in pixels, enough for the page and the report, and its JPEG quality.
_THUMBNAIL_SIDE, _THUMBNAIL_QUALITY = 320, 80
_GROUPS_LOOKED_AT = 2
# Packages whose exceptions are caused by the video and not by the storage.
_OF_DECODING = ("av", "builtins", "cv2", "framewatch", "numpy")

Answer = tuple[dict[str, Any], bytes]


def handle_request(request: dict[str, Any]) -> Iterator[Answer]:
    """Answers one request; the last answer has `outcome`. Failures become outcomes, not exceptions."""
    source = request["source"]
    task = _plan if request.pop("task") == "plan" else _extract
    try:
        yield from task(**request)
    except Exception as error:
        # An unexpected decoder error on a damaged file must fail only this file.
        yield {"outcome": _failure(error, source)}, b""


def _failure(error: Exception, source: str) -> dict[str, Any]:
    reason = " ".join(str(error).split()) or type(error).__name__
    return {"failure": reason, "unreadable": _is_of_storage(error, source)}


def _is_of_storage(error: Exception, source: str) -> bool:
    """Returns whether the storage, the network or credentials caused the error, not the video."""
    if isinstance(error, UnreadableError):
        return True
    if isinstance(error, VideoError):
        return False
    if isinstance(error, av.error.FFmpegError):
        return _is_away(source)
    # fsspec backends have their own exceptions, such as botocore's.
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] not in _OF_DECODING


def _is_away(source: str) -> bool:
    """Returns whether a local file is no longer readable, as on a share that was unmounted."""
    return "://" not in source and not os.access(source, os.R_OK)


def _plan(source: str, chunk_s: float) -> Iterator[Answer]:
    with OpenVideo(source) as video:
        duration_s = video.info.duration_s
        splittable = duration_s > chunk_s and _is_regular(video)
        yield {"outcome": {"duration_s": duration_s, "splittable": splittable}}, b""


def _is_regular(video: OpenVideo) -> bool:
    """Returns whether packets have the presentation timestamps of all frames.

    If not (as in concatenated files, and in program streams whose small frames share a timestamp), the time
    of a frame depends on all frames before it. This is also the case in AVI with B-frames, because AVI has no
    presentation timestamps. A file with an index is checked at its beginning; a file without one is read
    completely, without decoding.
    """
    if video.info.container == "avi" and video.stream.codec_context.has_b_frames:
        return False
    found = groups(video.packets())
    looked_at = itertools.islice(found, _GROUPS_LOOKED_AT if video.info.has_index else None)
    try:
        return sum(1 for _ in looked_at) > 1
    except IrregularError:
        return False


def _extract(
    source: str,
    jpeg_quality: int,
    tolerance_s: float,
    keep: str = "full",
    network_input: dict[str, Any] | None = None,
    **part: Any,
) -> Iterator[Answer]:
    if tolerance_s:
        part["tolerance_s"] = tolerance_s
    decoding = (KeyframeDecoding if tolerance_s else Decoding)(source, **part)
    failure: dict[str, Any] = {"failure": None}
    try:
        for frame in decoding.samples():
            yield _sample(frame, keep=keep, jpeg_quality=jpeg_quality, network_input=network_input)
    except Exception as error:
        failure = _failure(error, source)
    if decoding.num_damaged and _is_away(source):
        failure["unreadable"] = True
    info = decoding.info
    outcome = {
        **failure,
        "num_damaged": decoding.num_damaged,
        "duration_s": _seen_s(decoding, **part),
        "expected_s": info.expected_s,
        "tolerance_s": info.tolerance_s,
        "is_whole": info.is_whole,
        "gap_s": decoding.gap_s,
        "goes_on_in": "; ".join(decoding.goes_on_in) or None,
        "warning": "; ".join(info.warnings) or None,
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "num_frames": decoding.num_samples,
    }
    yield {"outcome": outcome}, b""


def _sample(
    frame: DecodedFrame, *, keep: str, jpeg_quality: int, network_input: dict[str, Any] | None
) -> Answer:
    """Returns a sample: `jpeg_bytes` bytes of a JPEG, then the pixels of its burst for the network."""
    height, width = frame.image.shape[:2]
    jpeg, pixels, error, motion = b"", b"", None, None
    if keep == "full":
        jpeg = encode_jpeg(frame.image, quality=jpeg_quality)
    elif keep == "thumbnails":
        jpeg = encode_jpeg(shrink_to(frame.image, _THUMBNAIL_SIDE), quality=_THUMBNAIL_QUALITY)
    if network_input is not None:
        try:
            check_size(width, height, width * height, network_input["max_pixels"])
            pictures = [frame.image, *(image for _, image in frame.followers)]
            size, method = network_input["size"], network_input["method"]
            pixels = b"".join(resize(picture, size, method=method).tobytes() for picture in pictures)
            if frame.followers:
                motion = burst_motion(
                    pictures, [frame.timestamp_s, *(time_s for time_s, _ in frame.followers)]
                )
        except PictureError as too_large:
            error = too_large.reason
    header = {
        "index": frame.index,
        "timestamp_s": frame.timestamp_s,
        "width": width,
        "height": height,
        "jpeg_bytes": len(jpeg),
        "error": error,
        "motion": None if motion is None else motion.tolist(),
    }
    return header, jpeg + pixels


def _seen_s(decoding: Decoding, *, fps: float, first: int, stop: int | None, **_: Any) -> float:
    """Returns the end of the last frame within the part's range, in seconds."""
    if first and not decoding.num_samples:
        return 0.0
    return decoding.duration_s if stop is None else min(decoding.duration_s, stop / fps)
