"""Open a video, choose its stream, and read what its container says of it, which packets may contradict."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from framewatch.errors import VideoError
from framewatch.video.container import is_whole, late_streams, open_container, open_file
from framewatch.video.info import described, video_info

# In these formats streams may begin anywhere: no header lists them.
_WITHOUT_HEADER = {"mpegts", "mpeg", "flv", "live_flv"}
# Packets read to choose a stream and to see how far apart its frames are.
_HEAD_PACKETS, _HEAD_BYTES = 24, 4 << 20
# FFmpeg's command line values a stream that is marked as default like this many more pixels.
_DEFAULT_PIXELS = 5_000_000
# A demuxer that fails this often in a row, without a packet between, has nothing more to give.
_MAX_FAILURES_IN_A_ROW = 100
# Of other streams: how far the packets behind the last of this one reach before its end counts as early.
_EARLY_S = 1.0

_SQUARE = "h264_metadata=sample_aspect_ratio=1/1"


class OpenVideo:
    """An open file and its best video stream; close it, or use it in a `with`.

    Attributes:
        container, stream: of PyAV.
        info: what the container says.
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
            whole = is_whole(self._file)
            self.container = open_container(self._file)
            self._read = [s for s in self.container.streams if s.type in ("video", "audio")]
            self._packets = self._demuxed()
            self._head = self._read_head()
            self.stream = self._chosen()
            first = [packet.pts for packet in self._head if packet.stream_index == self.stream.index]
            times = [pts for pts in first if pts is not None]
            self.info = video_info(self.container, self.stream, times, is_whole=whole)
            self._repair: Any = None
            if self.info.has_impossible_aspect and self.info.codec == "h264":
                # FFmpeg takes it for a change of the picture's size, and decodes keyframes only.
                self._repair = BitStreamFilterContext(_SQUARE, self.stream, self.stream)
            self.stream.thread_type = "NONE"  # a Spark task has one core
            self.stream.codec_context.thread_count = 1
            # Some decoders, such as dav1d, keep for ever what they were told of frames to skip when opened.
            self.stream.codec_context.open()
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
            f"{described(self.container.streams[index])} goes on for {max(of_it) - min(of_it):.1f} s"
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


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a still picture beside a video."""
    kinds = av.stream.Disposition
    return bool(stream.disposition & (kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image))
