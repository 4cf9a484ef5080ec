"""Reads the packets and frames of one video stream, continues after damage, and counts damaged frames."""

import contextlib
import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import av

from framewatch.video.groups import MAX_GROUP_BYTES, IrregularError, groups
from framewatch.video.h264 import FrameNumbers
from framewatch.video.probe import OpenVideo

# With B-frames, a seek may lead to a keyframe that is presented slightly after the requested time.
_STEP_BACK_S = 2.0
# The number of first packets that are checked for timestamps before that of the first picture.
_EARLY_PACKETS = 300
# FFmpeg may take one of this many last packets of a recording for incomplete.
_LAST_PACKETS = 2


class Stream:
    """The best video stream of a file.

    Attributes:
        info: metadata from the container.
        num_damaged: number of frames so far that are lost, or in which the decoder concealed an error.
        num_unreadable: number of read errors of the demuxer so far.
        goes_on_in: descriptions of streams that continue after the end of this one, once all is read.
    """

    def __init__(self, source: str) -> None:
        """Opens a local path, or a URI that fsspec reads.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        self._source, self._video = source, OpenVideo(source)
        self.info = self._video.info
        self.num_damaged = self.num_unreadable = 0
        self.goes_on_in: list[str] = []

    def close(self) -> None:
        """Closes the file."""
        self._video.close()

    def reopen(self) -> None:
        """Restarts at the beginning, with a new decoder."""
        self.close()
        self._video = OpenVideo(self._source)
        self.num_damaged = self.num_unreadable = 0

    @property
    def time_base(self) -> Any:
        """Seconds of one tick."""
        return self._video.stream.time_base

    @property
    def uncertainty_s(self) -> float:
        """How much the time of a frame may be too late, in seconds.

        AVI has no presentation timestamps; FFmpeg derives them from the decoding order.
        """
        codec = self._video.stream.codec_context
        made_up = self.info.container == "avi" and codec.has_b_frames
        return codec.reorder_depth * self.info.frame_duration_s if made_up else 0.0

    @property
    def aspect(self) -> Any:
        """Width of a pixel divided by its height; None if unknown or impossible."""
        return self.info.aspect

    def packets(self) -> Iterator[Any]:
        """Yields the packets from the current position."""
        video = self._video
        for packet in video.packets():
            self._count_unreadable(video)
            yield packet
        self._count_unreadable(video)
        self.goes_on_in = video.goes_on_in()

    def _count_unreadable(self, video: OpenVideo) -> None:
        self.num_unreadable += video.num_errors
        video.num_errors = 0

    def frames(
        self,
        packets: Iterable[Any],
        *,
        wanted: Container[int] | None = None,
        counted: Container[int | None] = (),
    ) -> Iterator[Any]:
        """Decodes consecutive packets and yields all their frames; flushes the decoder at the end.

        Args:
            packets: packets in decoding order.
            wanted: if set, skips non-reference frames except at these timestamps, in ticks.
            counted: timestamps whose damage is already counted.
        """
        codec = self._video.stream.codec_context
        numbers = FrameNumbers(codec.extradata) if self.info.codec == "h264" else None
        balance = _PacketBalance(self.info.codec)
        for packet in itertools.chain(packets, [None]):
            is_wanted = packet is None or wanted is None or packet.pts in wanted
            codec.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            if packet is not None:
                num_missing = numbers.num_missing_before(packet) if numbers else 0
                if packet.pts not in counted:
                    self.num_damaged += num_missing
                    balance.sent(packet)
            try:
                for frame in codec.decode(packet):
                    if frame.pts not in counted:
                        self.num_damaged += frame.is_corrupt
                        balance.received(frame)
                    yield frame
            except av.error.FFmpegError:
                balance.num_failed += packet is not None and packet.pts not in counted
                self.num_damaged += packet is None or packet.pts not in counted
        if wanted is None:
            self.num_damaged += balance.shortfall + balance.num_incomplete

    def frames_from_keyframe(
        self,
        packets: list[Any],
        *,
        wanted: Container[int] | None = None,
        counted: Container[int | None] = (),
    ) -> Iterator[Any]:
        """Decodes packets that begin with a keyframe, like `frames`, after resetting the decoder.

        Raises:
            IrregularError: frames are not in order of their timestamps.
        """
        self._video.stream.codec_context.flush_buffers()
        last: int | None = None
        for frame in self.frames(packets, wanted=wanted, counted=counted):
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise IrregularError
            last = frame.pts
            yield frame

    def first_frame(self) -> tuple[Any, Iterator[Any]]:
        """Returns the first decodable frame or None, and all packets, including those read for it.

        Does not count damage, because the packets are decoded again.

        Raises:
            IrregularError: no frame in the first `MAX_GROUP_BYTES`, or packets may be single fields.
        """
        packets = self.packets()
        read: list[Any] = []
        frame = next(self.frames(_recorded(packets, read)), None)
        self.num_damaged = 0
        fields = frame is not None and frame.interlaced_frame and self.info.codec == "h264"
        if fields and not self.info.has_index:
            raise IrregularError  # a packet may be a single field, so skipping packets could split a frame
        return frame, itertools.chain(read, packets)

    def packets_from(self, pts: int, *, accept: Callable[[Any], bool]) -> tuple[int, Iterator[Any]] | None:
        """Seeks to the keyframe before `pts` with the container's index.

        Returns:
            The timestamp of the keyframe, in ticks, and the packets from there on; None if there is no
            keyframe or `accept` rejects it.
        """
        try:
            self._video.seek(pts)
        except av.error.FFmpegError:
            return None
        packets = self.packets()
        keyframe = next((packet for packet in packets if packet.is_keyframe), None)
        if keyframe is None or keyframe.pts is None or not accept(keyframe):
            return None
        return keyframe.pts, itertools.chain([keyframe], packets)

    def begin_of_shown(self, time_s: float) -> float | None:
        """Returns the start of the frame that is shown at `time_s`, both in seconds from the start.

        Derived from packet timestamps without decoding; None if they are irregular.
        """
        shown: int | None = None
        with contextlib.suppress(IrregularError):
            frame, packets = self.first_frame()
            if frame is None or frame.pts is None:
                return None
            start, pts = frame.pts, frame.pts + int(time_s / self.time_base)
            if self.info.has_index:
                back = pts - int(_STEP_BACK_S / self.time_base)
                sought = self.packets_from(back, accept=lambda packet: start <= packet.pts <= pts)
                if sought is None:
                    self.reopen()
                packets = sought[1] if sought else self.packets()
            for group in groups(packets):
                shown = max((time for time in group.shown if start <= time <= pts), default=shown)
                if max(group.shown, default=pts) > pts:
                    break
        return None if shown is None else float((shown - start) * self.time_base)


class _PacketBalance:
    """Compares packets sent with frames received, to find frames that the decoder lost silently."""

    def __init__(self, codec: str) -> None:
        self.num_failed = self.num_incomplete = 0
        self._codec = codec
        self._incomplete_since = 0
        self._num_sent = self._num_received = 0
        self._early: list[int | None] = []
        self._first: int | None = None
        self._has_fields = False

    def sent(self, packet: Any) -> None:
        self._look_for_incomplete(packet)
        hidden = self._codec == "vp8" and not memoryview(packet)[0] & 0x10
        if packet.is_discard or hidden:
            return
        self._num_sent += 1
        if len(self._early) < _EARLY_PACKETS:
            self._early.append(packet.pts)

    def _look_for_incomplete(self, packet: Any) -> None:
        """Counts packets that the demuxer marks as incomplete, except at the end of a recording.

        If another recording is appended, FFmpeg marks one of the last packets of the first one.
        """
        if packet.is_keyframe:
            self._incomplete_since = 0
        elif self._incomplete_since:
            self._incomplete_since += 1
            if self._incomplete_since > _LAST_PACKETS:
                self.num_incomplete, self._incomplete_since = self.num_incomplete + 1, 0
        if packet.is_corrupt:
            self._incomplete_since = 1

    def received(self, frame: Any) -> None:
        if self._num_received == 0:
            self._first = frame.pts
        self._num_received += 1
        self._has_fields |= frame.interlaced_frame

    @property
    def shortfall(self) -> int:
        """Number of missing frames after the decoder was flushed.

        Frames before the first picture do not count, because a recording may begin between two keyframes.
        """
        first = self._first
        before = 0
        if first is not None and first in self._early:
            early = itertools.takewhile(lambda pts: pts is None or pts <= first, self._early)
            before = sum(1 for pts in early if pts != first)
        num_due = self._num_sent - before
        if self._has_fields:
            num_due //= 2  # each field may be a separate packet
        return max(0, num_due - self.num_failed - self._num_received)


def _recorded(packets: Iterable[Any], read: list[Any]) -> Iterator[Any]:
    """Yields packets and appends them to `read`, up to `MAX_GROUP_BYTES`."""
    num_bytes = 0
    for packet in packets:
        num_bytes += packet.size
        if num_bytes > MAX_GROUP_BYTES:
            raise IrregularError
        read.append(packet)
        yield packet
