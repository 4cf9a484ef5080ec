"""Writes a moment of any video as an MP4 that browsers play. Recorders often write MPEG-2 or AVI.

A clip has all frames between two times on the samples' clock, at most `max_fps` a second. It is written by
a child process, `python -m framewatch.video.clip_writer`, see `framewatch.io.child`.
"""

import contextlib
import itertools
import math
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from framewatch.errors import InputError, VideoError
from framewatch.io import access, atomic, storage
from framewatch.io.child import Answer, ChildError, ChildTimeoutError, answer_requests, ask
from framewatch.video.decoder import DecodedFrame, Decoding
from framewatch.video.probe import OpenVideo
from framewatch.video.sampling import SampleClock
from framewatch.video.stream import Stream

# Time base of a clip: at common frame rates, a frame lasts a whole number of these ticks.
_TICKS_A_SECOND = 90_000
# Three years. Videos count 64-bit ticks, which can be as short as a nanosecond.
_LAST_S = 1e8
# More threads would be faster, but the server may write other clips at the same time.
_ENCODER_THREADS = 2

_SYSTEM_ERRORS = (OSError, av.error.FFmpegError)


@dataclass(frozen=True)
class ClipSettings:
    """How clips are encoded.

    Attributes:
        max_side: maximum length of the longer side, pixels; 0 for no limit.
        max_fps: maximum frame rate; further frames are dropped.
        crf: H.264's constant rate factor, 1 (best, largest) to 51.
    """

    max_side: int = 640
    max_fps: float = 30.0
    crf: int = 23

    def __post_init__(self) -> None:
        if self.max_side < 0 or self.max_side == 1:
            raise InputError(f"max_side={self.max_side}: give 2 pixels or more, or 0 for no limit")
        if not 0 < self.max_fps <= 1000:
            raise InputError(f"max_fps={self.max_fps}: give more than 0 and at most 1000")
        if not 1 <= self.crf <= 51:  # 0 is lossless, and its profile does not play in browsers
            raise InputError(f"crf={self.crf}: give 1 (best, largest) to 51")


DEFAULTS = ClipSettings()


@dataclass(frozen=True)
class _Picture:
    """A picture, (height, width, 3) uint8 BGR, shown in [begin, end), clip ticks from the source's start."""

    begin: int
    end: int
    image: np.ndarray


def cut_clip(
    source: str, target: Path | str, *, start_s: float, end_s: float, settings: ClipSettings = DEFAULTS
) -> float:
    """Writes [start_s, end_s) of a video as MP4; the file appears at `target` only when it is complete.

    The clip begins with the frame that is shown at `start_s`, even if its presentation timestamp is earlier.
    All other frames keep their times. A clip ends at `end_s`, or at the end of the video.

    Args:
        source: a local path, or a URI that fsspec reads.
        target: a path in an existing directory.
        start_s: seconds from the start of the video, on the same clock as `timestamp_s`.
        end_s: exclusive end, as `start_s`.
        settings: encoder settings.

    Returns:
        The time of the clip's first frame in the source, in seconds: `start_s`, or later if damage leaves no
        frame to show at `start_s`.

    Raises:
        InputError: the range is empty or negative, or `target` cannot be written.
        VideoError: the video cannot be read, ends before `start_s`, or has no frame in the range.
    """
    _require_range(start_s, end_s)
    pictures = _pictures(storage.readable(source), start_s, end_s, settings)
    with contextlib.closing(pictures), _written_whole(Path(target)) as partial:
        begin = _encode(pictures, partial, settings)
    return start_s if begin == _ticks(start_s) else begin / _TICKS_A_SECOND


def cut_clip_in_child(
    source: str,
    target: Path | str,
    *,
    start_s: float,
    end_s: float,
    timeout_s: float = 60.0,
    settings: ClipSettings = DEFAULTS,
) -> float:
    """Runs `cut_clip` in a child process, which isolates the caller from a decoder that crashes or hangs.

    Args:
        source: as for `cut_clip`.
        target: as for `cut_clip`.
        start_s: as for `cut_clip`.
        end_s: as for `cut_clip`.
        timeout_s: seconds after which the child is killed.
        settings: as for `cut_clip`.

    Returns:
        The time of the clip's first frame in the source, in seconds, as `cut_clip`.

    Raises:
        InputError: the range is empty or negative, or the directory of `target` is not writable.
        VideoError: the child failed, crashed, or did not end within `timeout_s`.
    """
    _require_range(start_s, end_s)
    request = {"source": source, "start_s": start_s, "end_s": end_s, "settings": asdict(settings)}
    with _written_whole(Path(target)) as partial:
        try:
            outcome = ask(
                "framewatch.video.clip_writer",
                {**request, "target": str(partial)},
                timeout_s=timeout_s,
                umask=access.umask(),
            )
        except ChildTimeoutError as error:
            remedy = "choose a shorter range, or set timeout_s higher"
            raise VideoError(f"writing the clip {error}: {remedy}") from None
        except ChildError as error:
            raise VideoError(f"the decoder {error}") from None
        if "error" in outcome:
            raise VideoError(outcome["error"])
    return outcome["begin_s"]


def _require_range(start_s: float, end_s: float) -> None:
    if not 0 <= start_s < _LAST_S:
        raise InputError(f"start_s={start_s}: give seconds from the video's start, 0 to {_LAST_S:.0f}")
    if not (math.isfinite(end_s) and _ticks(start_s) < _ticks(end_s)):
        raise InputError(f"end_s={end_s}: the range is empty; give more than start_s={start_s}")


def _ticks(seconds: float) -> int:
    return round(seconds * _TICKS_A_SECOND)


@contextlib.contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """Context of `atomic.replacing` in which an error of the system becomes an InputError."""
    try:
        with atomic.replacing(target) as partial:
            yield partial
    except _SYSTEM_ERRORS as error:
        reason = f"{target} cannot be written ({error.strerror or error})"
        raise InputError(f"{reason}: give a path in a directory with write permission") from error


def _pictures(
    source: str, start_s: float, end_s: float, settings: ClipSettings
) -> Generator[_Picture, None, None]:
    """Yields the pictures of [start_s, end_s) in order and without gaps; the first is cut at `start_s`."""
    start, end = _ticks(start_s), _ticks(end_s)
    shown: tuple[int, np.ndarray] | None = None
    try:
        decoding, frames = _frames_from(source, start_s, end_s, settings)
        with contextlib.closing(decoding):
            for frame in frames:
                at = max(start, _ticks(frame.timestamp_s))
                if at >= end:
                    break
                if shown is not None and at > shown[0]:
                    yield _Picture(shown[0], at, shown[1])
                shown = at, frame.image
    except _SYSTEM_ERRORS as error:
        raise VideoError(f"the file cannot be read: {error.strerror or error}") from error
    last_s = decoding.duration_s
    if _ticks(last_s) <= start:
        raise VideoError(f"start_s={start_s}: the video ends at {last_s:.3f} s; start before that")
    if shown is None:
        raise VideoError(f"no picture from {start_s} to {end_s} s could be decoded: take a longer range")
    yield _Picture(shown[0], max(min(end, _ticks(last_s)), shown[0] + 1), shown[1])


def _frames_from(
    source: str, start_s: float, end_s: float, settings: ClipSettings
) -> tuple[Decoding, Iterator[DecodedFrame]]:
    """Returns a decoding of the range and its frames, which begin at or before the one at `start_s`."""
    with OpenVideo(source) as video:
        frame_s = video.info.frame_duration_s
    fps, max_side = settings.max_fps, settings.max_side // 2 * 2
    first = max(0, math.floor((start_s - frame_s) * fps) - 1)
    stop = math.ceil(end_s * fps) + 2  # the next frame after the range shows when the last one ends
    decoding = Decoding(source, fps, first=first, stop=stop, max_side=max_side)
    frames = decoding.samples()
    frame = next(frames, None)
    found = decoding.duration_s <= start_s if frame is None else frame.timestamp_s <= start_s
    if not found and first > 0:  # with a variable frame rate, the frame at the start may begin much earlier
        with contextlib.closing(Stream(source)) as stream:
            begin_s = stream.begin_of_shown(start_s)
        number = None if begin_s is None else SampleClock(fps).take(begin_s)
        if number is not None and number <= first:
            decoding.close()
            decoding = Decoding(source, fps, first=max(0, number - 1), stop=stop, max_side=max_side)
            return decoding, decoding.samples()
    return decoding, frames if frame is None else itertools.chain([frame], frames)


def _encode(pictures: Iterator[_Picture], path: Path, settings: ClipSettings) -> int:
    """Encodes pictures with their durations; returns the start of the first one, in ticks."""
    first = next(pictures)
    height, width = (side + side % 2 for side in first.image.shape[:2])
    picture, keyframe = first, -math.inf
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _h264_stream(container, width, height, settings)
        for picture in itertools.chain([first], pictures):
            frame = _video_frame(picture.image, width, height)
            frame.pts, frame.time_base = picture.begin - first.begin, Fraction(1, _TICKS_A_SECOND)
            # The next frame would be more than a second after the last keyframe.
            if picture.end - keyframe > _TICKS_A_SECOND:
                frame.pict_type, keyframe = av.video.frame.PictureType.I, picture.begin
            container.mux(stream.encode(frame))
        *packets, last = stream.encode(None)  # flushes the frames that the encoder has buffered
        last.duration = picture.end - picture.begin  # other frames last until the next one
        container.mux([*packets, last])
    return first.begin


def _h264_stream(container: Any, width: int, height: int, settings: ClipSettings) -> Any:
    # With B-frames, starting at 0 needs an edit list, which some players ignore.
    options = {"preset": "veryfast", "crf": str(settings.crf), "forced-idr": "1", "bf": "0"}
    rate = Fraction(settings.max_fps).limit_denominator(1001)
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    codec = stream.codec_context
    codec.time_base = Fraction(1, _TICKS_A_SECOND)
    codec.thread_count = _ENCODER_THREADS
    # The color space that OpenCV converts to. Without it, players guess from the size.
    codec.colorspace, codec.color_range = av.video.reformatter.Colorspace.ITU601, 1
    return stream


def _video_frame(image: np.ndarray, width: int, height: int) -> Any:
    """Returns a frame with even sides; pictures of another size are resized to that of the first."""
    below, right = height - image.shape[0], width - image.shape[1]
    if {below, right} <= {0, 1}:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    else:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), format="yuv420p")


def _handle(request: dict[str, Any]) -> Iterator[Answer]:
    """Answers one request. Any failure of the decoder on a damaged file becomes an answer."""
    settings = ClipSettings(**request.pop("settings"))
    try:
        outcome: dict[str, Any] = {"begin_s": cut_clip(**request, settings=settings)}
    except Exception as error:
        outcome = {"error": " ".join(str(error).split()) or type(error).__name__}
    yield {"outcome": outcome}, b""


if __name__ == "__main__":
    answer_requests(_handle)
