"""The packets and frames of one video, past damage."""

import contextlib
import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import av

from framewatch.video.groups import MAX_GROUP_BYTES, IrregularError, groups
from framewatch.video.h264 import FrameNumbers
from framewatch.video.probe import OpenVideo

# With B-frames, an index may lead to a keyframe that is shown a little behind the time sought.
_STEP_BACK_S = 2.0
# Packets in whose times those that precede the first picture are looked for.
_EARLY_PACKETS = 300
# One of so many at the end of a recording may seem incomplete.
_LAST_PACKETS = 2


class Stream:
    """The best video stream of a file.

    Attributes:
        info: what the container says.
        num_damaged: frames so far that were lost to damage, or in which the decoder patched it up.
        num_unreadable: how often so far the container could not be read.
        goes_on_in: streams that go on where this one has ended, described; once all has been read.
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
        """Goes back to the start, with a decoder that has seen nothing."""
        self.close()
        self._video = OpenVideo(self._source)
        self.num_damaged = self.num_unreadable = 0

    @property
    def time_base(self) -> Any:
        """Seconds of one tick."""
        return self._video.stream.time_base

    @property
    def uncertainty_s(self) -> float:
        """By how much a frame's time may be too late, seconds.

        AVI knows no presentation times. They are made up in the order of decoding.
        """
        codec = self._video.stream.codec_context
        made_up = self.info.container == "avi" and codec.has_b_frames
        return codec.reorder_depth * self.info.frame_duration_s if made_up else 0.0

    @property
    def aspect(self) -> Any:
        """Width of a pixel over its height; None where unknown, or impossible."""
        return self.info.aspect

    def packets(self) -> Iterator[Any]:
        """The packets from here on."""
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
        known: Container[int | None] = (),
    ) -> Iterator[Any]:
        """The frames of packets that follow each other, to the last: the decoder is flushed.

        Args:
            packets: in the order of decoding.
            wanted: leave frames out to which no other refers, except at these times, in ticks.
            known: damage at these times is not counted.
        """
        codec = self._video.stream.codec_context
        numbers = FrameNumbers(codec.extradata) if self.info.codec == "h264" else None
        account = _Account(self.info.codec)
        for packet in itertools.chain(packets, [None]):
            all_of_it = packet is None or wanted is None or packet.pts in wanted
            codec.skip_frame = "DEFAULT" if all_of_it else "NONREF"
            if packet is not None:
                num_missing = numbers.num_missing_before(packet) if numbers else 0
                if packet.pts not in known:
                    self.num_damaged += num_missing
                    account.sent(packet)
            try:
                for frame in codec.decode(packet):
                    if frame.pts not in known:
                        self.num_damaged += frame.is_corrupt
                        account.received(frame)
                    yield frame
            except av.error.FFmpegError:
                account.num_failed += packet is not None and packet.pts not in known
                self.num_damaged += packet is None or packet.pts not in known
        if wanted is None:
            self.num_damaged += account.shortfall + account.num_incomplete

    def frames_from_keyframe(
        self,
        packets: list[Any],
        *,
        wanted: Container[int] | None = None,
        known: Container[int | None] = (),
    ) -> Iterator[Any]:
        """As `frames`, of packets that begin with a keyframe, whatever was decoded before.

        Raises:
            IrregularError: frames come out in another order than their times.
        """
        self._video.stream.codec_context.flush_buffers()
        last: int | None = None
        for frame in self.frames(packets, wanted=wanted, known=known):
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise IrregularError
            last = frame.pts
            yield frame

    def first_frame(self) -> tuple[Any, Iterator[Any]]:
        """The first frame that can be decoded, or None; and all packets, those read for it too.

        Damage is not counted: the packets are decoded again.

        Raises:
            IrregularError: there is none in the first `MAX_GROUP_BYTES`, or packets may be half frames.
        """
        packets = self.packets()
        read: list[Any] = []
        frame = next(self.frames(_recorded(packets, read)), None)
        self.num_damaged = 0
        fields = frame is not None and frame.interlaced_frame and self.info.codec == "h264"
        if fields and not self.info.has_index:
            raise IrregularError  # a field may be a packet of its own: half a frame to skip or to end with
        return frame, itertools.chain(read, packets)

    def packets_from(self, pts: int, *, accept: Callable[[Any], bool]) -> tuple[int, Iterator[Any]] | None:
        """The keyframe before `pts`, found by the container's index; None if it is not accepted.

        Returns:
            Its time, and the packets from there on.
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
        """When the frame begins that is shown at `time_s`; both in seconds from the start of the video.

        Of the packets' account, without decoding them: None where they do not tell.
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


class _Account:
    """Packets in, frames out: what does not come out was lost, though the decoder may not mention it."""

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
        """Counts packets that the demuxer found incomplete, but at the end of a recording.

        Where another recording was put behind it, FFmpeg takes one of its last packets for incomplete.
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
        """Frames that are missing, once the decoder was flushed.

        Those before the first picture are not: a recording may begin between two keyframes.
        """
        first = self._first
        before = 0
        if first is not None and first in self._early:
            early = itertools.takewhile(lambda pts: pts is None or pts <= first, self._early)
            before = sum(1 for pts in early if pts != first)
        num_due = self._num_sent - before
        if self._has_fields:
            num_due //= 2  # a field may be a packet of its own
        return max(0, num_due - self.num_failed - self._num_received)


def _recorded(packets: Iterable[Any], read: list[Any]) -> Iterator[Any]:
    """The packets, noting in `read` what has been taken of them; not without end."""
    num_bytes = 0
    for packet in packets:
        num_bytes += packet.size
        if num_bytes > MAX_GROUP_BYTES:
            raise IrregularError
        read.append(packet)
        yield packet
