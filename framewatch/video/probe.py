"""Opens a video, selects its best video stream, reads its metadata, and demuxes its packets."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from framewatch.errors import VideoError
from framewatch.video.container import is_whole, late_streams, open_container, open_file
from framewatch.video.info import described, video_info

# In these formats, no header lists the streams, and new ones may appear anywhere.
_WITHOUT_HEADER = {"mpegts", "mpeg", "flv", "live_flv"}
# Limits of the packets that are read to select a stream and to estimate its frame rate.
_HEAD_PACKETS, _HEAD_BYTES = 24, 4 << 20
# FFmpeg's command line counts the default flag of a stream as this many pixels.
_DEFAULT_PIXELS = 5_000_000
# After this many consecutive failures without a packet, the demuxer has no more packets.
_MAX_FAILURES_IN_A_ROW = 100
# The stream ended early if another stream continues for longer than this after its last packet.
_EARLY_S = 1.0

_SQUARE = "h264_metadata=sample_aspect_ratio=1/1"


class OpenVideo:
    """An open file and its best video stream. Close it, or use it as a context manager.

    Attributes:
        container: the PyAV container.
        stream: the PyAV stream.
        info: metadata from the container.
        num_errors: number of read errors of the demuxer.
    """

    def __init__(self, source: str) -> None:
        """Opens a local path, or a URI that fsspec reads, without copying it.

        Raises:
            VideoError: the file is missing, empty, unreadable, or has no video that FFmpeg can decode.
        """
        self.num_errors = 0
        # Packets of other streams after the last one of this stream: (byte position, stream index, seconds).
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
                # FFmpeg takes an impossible aspect ratio for a change of size, and decodes only keyframes.
                self._repair = BitStreamFilterContext(_SQUARE, self.stream, self.stream)
            self.stream.thread_type = "NONE"  # a Spark task has one core
            self.stream.codec_context.thread_count = 1
            # Some decoders, such as dav1d, keep the `skip_frame` that is set when they open.
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
        """Yields the packets of the stream from the current position, and skips unreadable data."""
        head, self._head = self._head, []
        for packet in itertools.chain(head, self._packets):
            if packet.stream_index == self.stream.index:
                # FFmpeg returns a packet of a transport stream only when it has found the next one.
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
        """Seeks to the keyframe before `pts` with the container's index; `packets` continues from there.

        Raises:
            av.error.FFmpegError: there is no such keyframe.
        """
        self.container.seek(pts, stream=self.stream)
        self._head, self._packets = [], self._demuxed()
        self._behind.clear()

    def goes_on_in(self) -> list[str]:
        """Describes the streams that continue after the last packet of this one, once all is read."""
        least_s = max(_EARLY_S, 2 * self.info.frame_duration_s)
        times: dict[int, list[float]] = {}
        for _, index, time_s in self._behind:
            times.setdefault(index, []).append(time_s)
        found = [
            f"{described(self.container.streams[index])} continues for {max(later) - min(later):.1f} s"
            for index, later in sorted(times.items())
            if max(later) - min(later) > least_s
        ]
        if self.info.container in _WITHOUT_HEADER:
            found += [f"footage in {late} is not read" for late in late_streams(self.container)]
        return found

    def _demuxed(self) -> Iterator[Any]:
        """Yields all video and audio packets, and counts read errors."""
        failures_in_a_row = 0
        while failures_in_a_row < _MAX_FAILURES_IN_A_ROW:
            try:
                # PyAV raises IndexError at the end if a new stream appeared while reading.
                with contextlib.suppress(IndexError):
                    for packet in self.container.demux(*self._read):
                        if packet.size:
                            failures_in_a_row = 0
                            yield packet
                return
            except av.error.FFmpegError:
                failures_in_a_row += 1
                # For multipart JPEG, FFmpeg returns an error at the regular end of a file.
                if failures_in_a_row == 1 and self.container.format.name != "mpjpeg":
                    self.num_errors += 1

    def _read_head(self) -> list[Any]:
        """Reads the first packets, up to `_HEAD_PACKETS` of one video stream."""
        head, counts, num_bytes = [], dict.fromkeys(range(len(self.container.streams)), 0), 0
        for packet in self._packets:
            head.append(packet)
            num_bytes += packet.size
            counts[packet.stream_index] += packet.stream.type == "video"
            if counts[packet.stream_index] == _HEAD_PACKETS or num_bytes > _HEAD_BYTES:
                break
        return head

    def _chosen(self) -> Any:
        """Selects the same stream as FFmpeg's command line, and never a cover or a single picture."""
        streams = [stream for stream in self.container.streams.video if not _is_cover(stream)]
        if not streams:
            raise VideoError("no video stream: the file contains only audio or data")
        streams = [stream for stream in streams if stream.codec_context is not None]
        if not streams:
            raise VideoError("FFmpeg does not support the codec of the video stream: convert the file")
        counts = {stream.index: 0 for stream in streams}
        for packet in self._head:
            if packet.stream_index in counts:
                counts[packet.stream_index] += 1

        def worth(stream: Any) -> tuple[int, int]:
            codec, is_default = stream.codec_context, bool(stream.disposition & av.stream.Disposition.default)
            return min(counts[stream.index], 2), codec.width * codec.height + is_default * _DEFAULT_PIXELS

        return max(streams, key=worth)


def _is_cover(stream: Any) -> bool:
    """Returns whether a stream is a still picture that accompanies a video."""
    kinds = av.stream.Disposition
    return bool(stream.disposition & (kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image))
