"""The packets and frames of one video, past damage."""

import contextlib
import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import av

from framewatch.video.groups import MAX_GROUP_BYTES, IrregularError, groups
from framewatch.video.probe import OpenVideo

# A demuxer that fails this often in a row, without a packet between, has nothing more to give.
_MAX_FAILURES_IN_A_ROW = 100
# With B-frames, an index may lead to a keyframe that is shown a little behind the time sought.
_STEP_BACK_S = 2.0


class Stream:
    """The first video stream of a file.

    Attributes:
        info: what the container says.
        num_damaged: frames so far that were lost to damage, or in which the decoder patched it up.
    """

    def __init__(self, source: str) -> None:
        """Opens a local path, or a URI that fsspec reads.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        self._source, self._video = source, OpenVideo(source)
        self.info = self._video.info
        self.num_damaged = 0

    def close(self) -> None:
        """Closes the file."""
        self._video.close()

    def reopen(self) -> None:
        """Goes back to the start, with a decoder that knows of nothing."""
        self.close()
        self._video = OpenVideo(self._source)
        self.num_damaged = 0

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
        """Width of a pixel over its height; None where unknown."""
        return self._video.stream.sample_aspect_ratio

    def packets(self) -> Iterator[Any]:
        """The packets from here on; the last is the one that flushes the decoder."""
        failures_in_a_row = 0
        while failures_in_a_row < _MAX_FAILURES_IN_A_ROW:
            try:
                for packet in self._video.container.demux(self._video.stream):
                    failures_in_a_row = 0
                    yield packet
                return
            except av.error.FFmpegError:
                failures_in_a_row += 1
                self.num_damaged += failures_in_a_row == 1

    def frames(
        self, packets: Iterable[Any], *, wanted: Container[int] | None = None, known: Container[int] = ()
    ) -> Iterator[Any]:
        """The frames of packets that follow each other.

        Args:
            packets: None flushes the decoder.
            wanted: leave frames out to which no other refers, except at these times, in ticks.
            known: damage at these times is not counted.
        """
        codec = self._video.stream.codec_context
        for packet in packets:
            all_of_it = packet is None or wanted is None or packet.pts in wanted
            codec.skip_frame = "DEFAULT" if all_of_it else "NONREF"
            try:
                for frame in codec.decode(packet):
                    self.num_damaged += frame.is_corrupt and frame.pts not in known
                    yield frame
            except av.error.FFmpegError:
                self.num_damaged += packet is None or packet.pts not in known

    def frames_from_keyframe(
        self, packets: list[Any], *, wanted: Container[int] | None = None, known: Container[int] = ()
    ) -> Iterator[Any]:
        """As `frames`, of packets that begin with a keyframe, whatever was decoded before.

        Raises:
            IrregularError: frames come out in another order than their times.
        """
        self._video.stream.codec_context.flush_buffers()
        last: int | None = None
        for frame in self.frames([*packets, None], wanted=wanted, known=known):
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise IrregularError
            last = frame.pts
            yield frame

    def first_frame(self) -> tuple[Any, Iterator[Any]]:
        """The first frame that can be decoded, or None; and all packets, those read for it too.

        Raises:
            IrregularError: there is none in the first `MAX_GROUP_BYTES`, or packets may be half frames.
        """
        packets = self.packets()
        read: list[Any] = []
        frame = next(self.frames(_recorded(packets, read)), None)
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
            self._video.container.seek(pts, stream=self._video.stream)
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


def _recorded(packets: Iterable[Any], read: list[Any]) -> Iterator[Any]:
    """The packets, noting in `read` what has been taken of them; not without end."""
    num_bytes = 0
    for packet in packets:
        num_bytes += packet.size
        if num_bytes > MAX_GROUP_BYTES:
            raise IrregularError
        read.append(packet)
        yield packet
