"""Reads the metadata of a video stream from its container, and corrects what packets contradict."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from framewatch.video.h264 import FrameNumbers
from framewatch.video.sampling import lower_median

# Formats with an index of their frames. Other files must be read completely to find times and keyframes.
_WITH_INDEX = {"mov", "matroska", "avi", "asf", "mxf"}
# In these formats, the duration in the header counts from 0, even if the first frame is later.
_COUNTED_FROM_ZERO = {"matroska", "flv", "live_flv"}

# The nominal rate is used unless it differs from that of the first frames by this factor.
_RATE_FACTOR = 2.5
_ASSUMED_FPS = 25.0
_TOLERANCE_S, _TOLERANCE_FRAMES = 1.0, 2
# A more extreme pixel aspect ratio is an error of the recorder.
_MOST_ASPECT = 16
_SLOWEST_FPS, _FASTEST_FPS = 0.001, 1000.0
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video stream; 0 and "" if unknown.

    Attributes:
        fps: frames per second: the nominal rate, or that of the first frames if they differ widely.
        width: pixels of the coded picture.
        height: pixels of the coded picture.
        codec: FFmpeg's name, such as `h264`.
        container: FFmpeg's name of the file format, such as `matroska`.
        duration_s: duration from the container, often an estimate.
        expected_s: expected duration of the video stream; 0 if unknown.
        tolerance_s: how much `expected_s` may be too long in a complete file.
        is_whole: whether the file is complete or truncated; None if unknown.
        aspect: width of a pixel divided by its height; None if unknown or impossible.
        has_impossible_aspect: whether the stream has an aspect ratio that is ignored.
        warnings: warnings for the user.
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
        """Duration of a frame at the nominal rate, in seconds; 0 if unknown."""
        return 1 / self.fps if self.fps > 0 else 0.0

    @property
    def has_index(self) -> bool:
        """Whether the container has an index, so that seeking finds keyframes without reading the file."""
        return self.container in _WITH_INDEX


def video_info(container: Any, stream: Any, times: Sequence[int], *, is_whole: bool | None) -> VideoInfo:
    """Returns the metadata of a stream before it is decoded.

    Args:
        container: an open PyAV container.
        stream: a PyAV video stream of the container.
        times: presentation timestamps of the first packets, in ticks.
        is_whole: the result of `container.is_whole`.
    """
    name = container.format.name.split(",")[0]
    fps, assumed = _rate(container, stream, times)
    expected_s = duration_s = _length_s(container, stream)
    if fps and name == "avi":
        # FFmpeg reduces the duration of a truncated AVI, but not its number of frames.
        duration_s = expected_s = max(duration_s, stream.frames / fps)
    others = [described(other) for other in container.streams.video if other.index != stream.index]
    ignored = f"{len(others)} other video stream(s) not read: {', '.join(others)}" if others else None
    aspect, text = _aspect(stream)
    impossible = f"the impossible pixel aspect ratio {text} is ignored" if text and aspect is None else None
    return VideoInfo(
        fps=fps,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        codec=stream.codec_context.name,
        container=name,
        duration_s=duration_s,
        expected_s=expected_s,
        # AVI stores its number of frames; others round, and include frames that a decoder drops at both ends.
        tolerance_s=max(0.0 if name == "avi" else _TOLERANCE_S, _TOLERANCE_FRAMES / fps if fps else 0.0),
        is_whole=is_whole,
        aspect=aspect,
        has_impossible_aspect=impossible is not None,
        warnings=tuple(filter(None, (assumed, ignored, impossible))),
    )


def described(stream: Any) -> str:
    """Describes a stream for messages: type, index, codec, size and id."""
    codec = stream.codec_context
    name = codec.name if codec is not None else "unknown codec"
    size = f" {codec.width}x{codec.height}" if codec is not None and stream.type == "video" else ""
    pid = f", id {stream.id:#x}" if stream.id else ""
    return f"{stream.type} stream {stream.index} ({name}{size}{pid})"


def _rate(container: Any, stream: Any, times: Sequence[int]) -> tuple[float, str | None]:
    """Returns frames per second, and a warning if the rate is assumed."""
    if container.format.flags & _NO_TIMES:
        rate = float(stream.codec_context.framerate or 0)
        if _SLOWEST_FPS <= rate <= _FASTEST_FPS:
            return rate, None
        return _ASSUMED_FPS, f"the file has no timestamps: {_ASSUMED_FPS:g} frames per second are assumed"
    nominal = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
    ordered = sorted(set(times))
    frame_s = float(lower_median([b - a for a, b in itertools.pairwise(ordered)]) * stream.time_base)
    if frame_s and not 1 / _RATE_FACTOR < nominal * frame_s < _RATE_FACTOR:
        return 1 / frame_s, None
    return nominal, None


def _length_s(container: Any, stream: Any) -> float:
    """Returns the duration from the first frame to the end of the last, in seconds; 0 if unknown."""
    if container.format.flags & _NO_TIMES:
        return 0.0  # the duration would be an estimate from the bit rate
    name = container.format.name.split(",")[0]
    if stream.duration and stream.time_base:
        length, begin, unit = stream.duration, stream.start_time or 0, stream.time_base
        # The timestamps of a fragment continue those of the previous file, and so does its duration.
        from_zero = name == "mov" and stream.frames == 0
    else:
        length, begin, unit = container.duration or 0, container.start_time or 0, 1 / av.time_base
        from_zero = name in _COUNTED_FROM_ZERO
    if from_zero and 0 < begin < length:
        length -= begin
    return max(0.0, float(length * unit))


def _aspect(stream: Any) -> tuple[Fraction | None, str]:
    """Returns the pixel aspect ratio, or None if it is unknown or impossible; and its text."""
    codec, ratio = stream.codec_context, stream.sample_aspect_ratio
    width, height = (ratio.numerator, ratio.denominator) if ratio else (0, 0)
    if codec.name == "h264":  # FFmpeg drops impossible values, so they are read from the stream
        width, height = FrameNumbers(codec.extradata).aspect or (width, height)
    if not width or not height:
        return None, ""
    aspect = Fraction(width, height)
    is_possible = Fraction(1, _MOST_ASPECT) <= aspect <= _MOST_ASPECT
    return aspect if is_possible else None, f"{width}:{height}"
