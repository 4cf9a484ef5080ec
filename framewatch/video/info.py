"""What a container says of its video stream, as far as its packets do not contradict."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from framewatch.video.h264 import FrameNumbers
from framewatch.video.sampling import lower_median

# Formats with an index of their frames. Of others only reading them through tells times and keyframes.
_WITH_INDEX = {"mov", "matroska", "avi", "asf", "mxf"}
# The length in the header of these counts from 0, wherever the first frame is.
_COUNTED_FROM_ZERO = {"matroska", "flv", "live_flv"}

# A nominal rate is believed unless the first frames are so many times nearer to each other, or farther apart.
_RATE_FACTOR = 2.5
_ASSUMED_FPS = 25.0
_TOLERANCE_S, _TOLERANCE_FRAMES = 1.0, 2
# Pixels wider or narrower than this are a mistake of the recorder.
_MOST_ASPECT = 16
_SLOWEST_FPS, _FASTEST_FPS = 0.001, 1000.0
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of its video stream; 0 and "" where it says nothing.

    Attributes:
        fps: frames a second: the nominal rate, or that of the first frames where the two differ.
        width: pixels of the coded picture.
        height: pixels of the coded picture.
        codec: FFmpeg's name, such as `h264`.
        container: FFmpeg's name of the file format, such as `matroska`.
        duration_s: by the container's account, often an estimate.
        expected_s: what the video stream should last; 0 where the container does not say.
        tolerance_s: by how much `expected_s` may be too long, though nothing is missing.
        is_whole: whether the file is known to be whole, or to be cut off; None where it is not known.
        aspect: width of a pixel over its height; None where unknown, or impossible.
        has_impossible_aspect: whether the stream has an aspect that is ignored.
        warnings: what a user should know.
    """

    fps: float
    width: int
    height: int
    codec: str
    container: str
    duration_s: float
    expected_s: float
    tolerance_s: float = 0.0
    is_whole: bool | None = None
    aspect: Fraction | None = None
    has_impossible_aspect: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def frame_duration_s(self) -> float:
        """Seconds that one frame lasts at the nominal rate, or 0 where that is unknown."""
        return 1 / self.fps if self.fps > 0 else 0.0

    @property
    def has_index(self) -> bool:
        """Whether the container lists its frames, so that its times can be trusted without reading it."""
        return self.container in _WITH_INDEX


def video_info(container: Any, stream: Any, times: Sequence[int], *, is_whole: bool | None) -> VideoInfo:
    """What is known of a stream before it is decoded.

    Args:
        container: PyAV's, open.
        stream: PyAV's, one of the container's.
        times: of the first packets, in ticks.
        is_whole: as `container.is_whole` has it.
    """
    name = container.format.name.split(",")[0]
    fps, assumed = _rate(container, stream, times)
    expected_s = duration_s = _length_s(container, stream)
    if fps and name == "avi":
        # FFmpeg shortens the duration of a truncated AVI, and keeps its number of frames.
        duration_s = expected_s = max(duration_s, stream.frames / fps)
    others = [described(other) for other in container.streams.video if other.index != stream.index]
    ignored = f"{len(others)} other video stream(s) not read: {', '.join(others)}" if others else None
    aspect, told = _aspect(stream)
    impossible = f"the aspect ratio of its pixels, {told}, is ignored" if told and aspect is None else None
    return VideoInfo(
        fps=fps,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        codec=stream.codec_context.name,
        container=name,
        duration_s=duration_s,
        expected_s=expected_s,
        # AVI counts its frames; others round, and count frames that a decoder drops at either end.
        tolerance_s=max(0.0 if name == "avi" else _TOLERANCE_S, _TOLERANCE_FRAMES / fps if fps else 0.0),
        is_whole=is_whole,
        aspect=aspect,
        has_impossible_aspect=impossible is not None,
        warnings=tuple(filter(None, (assumed, ignored, impossible))),
    )


def described(stream: Any) -> str:
    """A stream's kind, number, codec, size and id, for messages."""
    codec = stream.codec_context
    name = codec.name if codec is not None else "unknown codec"
    size = f" {codec.width}x{codec.height}" if codec is not None and stream.type == "video" else ""
    pid = f", id {stream.id:#x}" if stream.id else ""
    return f"{stream.type} stream {stream.index} ({name}{size}{pid})"


def _rate(container: Any, stream: Any, times: Sequence[int]) -> tuple[float, str | None]:
    """Frames a second, and a warning where they are only assumed."""
    if container.format.flags & _NO_TIMES:
        rate = float(stream.codec_context.framerate or 0)
        if _SLOWEST_FPS <= rate <= _FASTEST_FPS:
            return rate, None
        return _ASSUMED_FPS, f"the file holds no times: {_ASSUMED_FPS:g} frames a second are assumed"
    nominal = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
    ordered = sorted(set(times))
    frame_s = float(lower_median([b - a for a, b in itertools.pairwise(ordered)]) * stream.time_base)
    if frame_s and not 1 / _RATE_FACTOR < nominal * frame_s < _RATE_FACTOR:
        return 1 / frame_s, None
    return nominal, None


def _length_s(container: Any, stream: Any) -> float:
    """Seconds from the first frame to the end of the last, by the container's account; 0 without one."""
    if container.format.flags & _NO_TIMES:
        return 0.0  # estimated from the bit rate
    name = container.format.name.split(",")[0]
    if stream.duration and stream.time_base:
        length, begin, unit = stream.duration, stream.start_time or 0, stream.time_base
        # A fragment's clock goes on from the file before, and its end is told on that clock.
        from_zero = name == "mov" and stream.frames == 0
    else:
        length, begin, unit = container.duration or 0, container.start_time or 0, 1 / av.time_base
        from_zero = name in _COUNTED_FROM_ZERO
    if from_zero and 0 < begin < length:
        length -= begin
    return max(0.0, float(length * unit))


def _aspect(stream: Any) -> tuple[Fraction | None, str]:
    """Width of a pixel over its height, or None; and what the stream has, in words."""
    codec, told = stream.codec_context, stream.sample_aspect_ratio
    width, height = (told.numerator, told.denominator) if told else (0, 0)
    if codec.name == "h264":  # of what is impossible, FFmpeg keeps nothing
        width, height = FrameNumbers(codec.extradata).aspect or (width, height)
    if not width or not height:
        return None, ""
    aspect = Fraction(width, height)
    is_possible = Fraction(1, _MOST_ASPECT) <= aspect <= _MOST_ASPECT
    return aspect if is_possible else None, f"{width}:{height}"
