"""Open a video, choose its stream, and read what its container says of it, which packets may contradict."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from framewatch.errors import VideoError
from framewatch.video.container import is_complete, late_streams, open_container, open_file
from framewatch.video.h264 import FrameNumbers
from framewatch.video.sampling import lower_median

# Formats with an index of their frames. Of others only reading them through tells times and keyframes.
_WITH_INDEX = {"mov", "matroska", "avi", "asf", "mxf"}
# In these formats streams may begin anywhere: no header lists them.
_WITHOUT_HEADER = {"mpegts", "mpeg", "flv", "live_flv"}
# The length in the header of these counts from 0, wherever the first frame is.
_COUNTED_FROM_ZERO = {"matroska", "flv", "live_flv"}

# Packets read to choose a stream and to see how far apart its frames are.
_HEAD_PACKETS, _HEAD_BYTES = 24, 4 << 20
# A nominal rate is believed unless the first frames are so many times nearer to each other, or farther apart.
_RATE_FACTOR = 2.5
_ASSUMED_FPS = 25.0
# Pixels wider or narrower than this are a mistake of the recorder.
_MOST_ASPECT = 16
_SLOWEST_FPS, _FASTEST_FPS = 0.001, 1000.0
# FFmpeg's command line values a stream that is marked as default like this many more pixels.
_DEFAULT_PIXELS = 5_000_000
# A demuxer that fails this often in a row, without a packet between, has nothing more to give.
_MAX_FAILURES_IN_A_ROW = 100
# Of other streams: how far the packets behind the last of this one reach before its end counts as early.
_EARLY_S = 1.0

_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS
_SQUARE = "h264_metadata=sample_aspect_ratio=1/1"


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
        is_complete: whether the file is known to be as long as it should be.
        warnings: what a user should know.
    """

    fps: float
    width: int
    height: int
    codec: str
    container: str
    duration_s: float
    expected_s: float
    is_complete: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def frame_duration_s(self) -> float:
        """Seconds that one frame lasts at the nominal rate, or 0 where that is unknown."""
        return 1 / self.fps if self.fps > 0 else 0.0

    @property
    def has_index(self) -> bool:
        """Whether the container lists its frames, so that its times can be trusted without reading it."""
        return self.container in _WITH_INDEX


class OpenVideo:
    """An open file and its best video stream; close it, or use it in a `with`.

    Attributes:
        container, stream: of PyAV.
        info: what the container says.
        aspect: width of a pixel over its height; None where unknown, or impossible.
        num_errors: how often the container could not be read on from where it was.
    """

    def __init__(self, source: str) -> None:
        """Opens a local path, or a URI that fsspec reads, without copying it.

        Raises:
            VideoError: the file is missing, empty, unreadable, or holds no video that FFmpeg can decode.
        """
        self.num_errors = 0
        # Of the packets of other streams behind the last one: where they are, of which stream, and when.
        self._behind: list[tuple[int, int, float]] = []
        self._file = open_file(source)
        self.container: Any = None
        try:
            self.container = open_container(self._file)
            self._read = [s for s in self.container.streams if s.type in ("video", "audio")]
            self._packets = self._demuxed()
            self._head = self._read_head()
            self.stream = self._chosen()
            self._repair: Any = None
            self.aspect, told = _aspect(self.stream)
            if told and self.aspect is None and self.stream.codec_context.name == "h264":
                # FFmpeg takes it for a change of the picture's size, and decodes keyframes only.
                self._repair = BitStreamFilterContext(_SQUARE, self.stream, self.stream)
            self.stream.thread_type = "NONE"  # a Spark task has one core
            self.stream.codec_context.thread_count = 1
            # Some decoders, such as dav1d, keep for ever what they were told of frames to skip when opened.
            self.stream.codec_context.open()
            self.info = self._info(
                f"the aspect ratio of its pixels, {told}, is ignored" if told and self.aspect is None else None
            )
        except av.error.FFmpegError as error:
            self.close()
            reason = error.strerror or type(error).__name__
            raise VideoError(f"not a video that FFmpeg can read: {reason}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        if self.container is not None:
            self.container.close()
        self._file.close()

    def __enter__(self) -> "OpenVideo":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def packets(self) -> Iterator[Any]:
        """The packets of the stream from here on, past what cannot be read."""
        head, self._head = self._head, []
        for packet in itertools.chain(head, self._packets):
            if packet.stream_index == self.stream.index:
                # FFmpeg hands out a packet of a transport stream when it has found the next.
                late = self.info.container in _WITHOUT_HEADER and packet.pos
                self._behind = [other for other in self._behind if late and other[0] > packet.pos]
                yield from self._repaired(packet)
            elif (ticks := packet.pts if packet.pts is not None else packet.dts) is not None:
                self._behind.append((packet.pos or 0, packet.stream_index, float(ticks * packet.time_base)))

    def _repaired(self, packet: Any) -> list[Any]:
        if self._repair is None:
            return [packet]
        try:
            return self._repair.filter(packet)
        except av.error.FFmpegError:
            self.num_errors += 1
            return []

    def seek(self, pts: int) -> None:
        """Goes to the keyframe before `pts`, found by the container's index; then `packets` begin there.

        Raises:
            av.error.FFmpegError: there is none.
        """
        self.container.seek(pts, stream=self.stream)
        self._head, self._packets = [], self._demuxed()
        self._behind.clear()

    def goes_on_in(self) -> list[str]:
        """Once all is read: the streams that go on behind the last packet of this one, described."""
        least_s = max(_EARLY_S, 2 * self.info.frame_duration_s)
        times: dict[int, list[float]] = {}
        for _, index, time_s in self._behind:
            times.setdefault(index, []).append(time_s)
        found = [
            f"{_described(self.container.streams[index])} goes on for {max(of_it) - min(of_it):.1f} s"
            for index, of_it in sorted(times.items())
            if max(of_it) - min(of_it) > least_s
        ]
        if self.info.container in _WITHOUT_HEADER:
            found += [f"footage in {late} is not read" for late in late_streams(self.container)]
        return found

    def _demuxed(self) -> Iterator[Any]:
        """All packets of video and sound. A failure is counted if something comes behind it."""
        failures_in_a_row = 0
        while failures_in_a_row < _MAX_FAILURES_IN_A_ROW:
            try:
                # PyAV fails at the end by a stream that was not there at the beginning.
                with contextlib.suppress(IndexError):
                    for packet in self.container.demux(*self._read):
                        if packet.size:
                            failures_in_a_row = 0
                            yield packet
                return
            except av.error.FFmpegError:
                failures_in_a_row += 1
                # Of multipart JPEG, FFmpeg ends with an error where the file does.
                if failures_in_a_row == 1 and self.container.format.name != "mpjpeg":
                    self.num_errors += 1

    def _read_head(self) -> list[Any]:
        """The first packets, up to `_HEAD_PACKETS` of one video stream."""
        head, counts, num_bytes = [], dict.fromkeys(range(len(self.container.streams)), 0), 0
        for packet in self._packets:
            head.append(packet)
            num_bytes += packet.size
            counts[packet.stream_index] += packet.stream.type == "video"
            if counts[packet.stream_index] == _HEAD_PACKETS or num_bytes > _HEAD_BYTES:
                break
        return head

    def _chosen(self) -> Any:
        """The stream that FFmpeg's command line chooses: never a cover, nor one picture beside a video."""
        streams = [stream for stream in self.container.streams.video if not _is_cover(stream)]
        if not streams:
            raise VideoError("no video stream: the file holds only sound or data")
        streams = [stream for stream in streams if stream.codec_context is not None]
        if not streams:
            raise VideoError("the codec of its video stream is unknown to FFmpeg")
        counts = {stream.index: 0 for stream in streams}
        for packet in self._head:
            if packet.stream_index in counts:
                counts[packet.stream_index] += 1

        def worth(stream: Any) -> tuple[int, int]:
            codec, is_default = stream.codec_context, bool(stream.disposition & av.stream.Disposition.default)
            return min(counts[stream.index], 2), codec.width * codec.height + is_default * _DEFAULT_PIXELS

        return max(streams, key=worth)

    def _info(self, warning: str | None) -> VideoInfo:
        container, stream = self.container, self.stream
        name = container.format.name.split(",")[0]
        times = [p.pts for p in self._head if p.stream_index == stream.index and p.pts is not None]
        fps, assumed = _rate(container, stream, times)
        expected_s = duration_s = _length_s(container, stream)
        if fps and name == "avi":
            # FFmpeg shortens the duration of a truncated AVI, and keeps its number of frames.
            duration_s = expected_s = max(duration_s, stream.frames / fps)
        others = [_described(other) for other in container.streams.video if other.index != stream.index]
        ignored = f"{len(others)} other video stream(s) not read: {', '.join(others)}" if others else None
        return VideoInfo(
            fps=fps,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            codec=stream.codec_context.name,
            container=name,
            duration_s=duration_s,
            expected_s=expected_s,
            is_complete=is_complete(self._file),
            warnings=tuple(filter(None, (assumed, ignored, warning))),
        )


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a still picture beside a video."""
    kinds = av.stream.Disposition
    return bool(stream.disposition & (kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image))


def _described(stream: Any) -> str:
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
