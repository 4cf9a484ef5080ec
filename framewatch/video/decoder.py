"""Times -> frames: decode a video once and yield the frames that are samples."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from framewatch.errors import VideoError
from framewatch.video.picture import to_bgr
from framewatch.video.probe import OpenVideo
from framewatch.video.sampling import SampleClock

# A demuxer that fails this often in a row, without a packet between, has nothing more to give.
_MAX_FAILURES_IN_A_ROW = 100
# A step back in time larger than this is a clock that starts anew, as in files put end to end.
_RESET_S = 1.0
# How far before its range a part looks for a keyframe first; doubled until there is one.
_FIRST_STEP_BACK_S = 2.0


@dataclass(frozen=True)
class DecodedFrame:
    """One sample.

    Attributes:
        index: 0-based sample number.
        timestamp_s: the frame's presentation time, seconds from the start of the video.
        image: (height, width, 3) uint8, BGR.
    """

    index: int
    timestamp_s: float
    image: np.ndarray


class Decoding:
    """Reads a video once; iterate over `samples()`, then ask how it went.

    Attributes:
        info: what the container says.
        duration_s: seconds of video up to the end of the last frame seen.
        num_samples: frames yielded so far.
        failures: damaged packets passed over so far.
    """

    def __init__(
        self, source: str, fps: float, *, first: int = 0, stop: int | None = None, max_side: int = 0
    ) -> None:
        """Opens the file.

        Args:
            source: a local path, or a URI that fsspec reads.
            fps: samples a second.
            first: the first sample wanted; decoding begins at a keyframe before it.
            stop: the first sample not wanted; None for all to the end.
            max_side: the longer side of larger pictures, pixels; 0 for any.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        self._source, self._video = source, OpenVideo(source)
        self.info = self._video.info
        self._fps, self._first, self._stop, self._max_side = fps, first, stop, max_side
        self.duration_s, self.num_samples, self.failures = 0.0, 0, 0
        self._start_pts: int | None = None

    def samples(self) -> Iterator[DecodedFrame]:
        """Yields the frames that are samples, in order of time.

        Raises:
            VideoError: not one frame of the whole video could be decoded.
        """
        with contextlib.closing(self):
            clock = SampleClock(self._fps, self.info.frame_duration_s)
            for timestamp_s, frame in self._timed(self._in_order()):
                index = clock.take(timestamp_s)
                if index is None or index < self._first:
                    continue
                if self._stop is not None and index >= self._stop:
                    return
                aspect = self._video.stream.sample_aspect_ratio
                image = to_bgr(frame, aspect, max_side=self._max_side)
                self.num_samples += 1
                yield DecodedFrame(index, timestamp_s, image)
        if self.num_samples == 0 and self._first == 0:
            raise VideoError("no frame could be decoded: the file is damaged or has no pictures")

    def close(self) -> None:
        """Closes the file."""
        self._video.close()

    def _in_order(self) -> Iterator[Any]:
        """Decoded frames, from shortly before the range that is wanted."""
        frames = self._from_keyframe() if self._first else None
        if frames is None and self._first:
            self._reopen()
        self.failures = 0  # what lies before the range is another part's to tell
        return self._whole() if frames is None else frames

    def _packets(self) -> Iterator[Any]:
        """The stream's packets, past damage; the last is the one that flushes the decoder."""
        failures_in_a_row = 0
        while failures_in_a_row < _MAX_FAILURES_IN_A_ROW:
            try:
                for packet in self._video.container.demux(self._video.stream):
                    failures_in_a_row = 0
                    yield packet
                return
            except av.error.FFmpegError:
                failures_in_a_row += 1
                self.failures += failures_in_a_row == 1

    def _frames(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Decoded frames in order of presentation, past damage."""
        decoder = self._video.stream.codec_context
        for packet in packets:  # None flushes
            try:
                yield from decoder.decode(packet)
            except av.error.FFmpegError:
                self.failures += 1

    def _whole(self) -> Iterator[Any]:
        return self._frames(self._packets())

    def _from_keyframe(self) -> Iterator[Any] | None:
        """Frames from a keyframe whose sample number is below the first one wanted; None without one.

        So samples come out as from the start: whether a frame is one depends on the frame before.
        """
        first_frame = next(self._whole(), None)
        if first_frame is None or self._seconds(first_frame) is None:
            return None
        packets = self._sought() if self.info.has_index else self._skipped_to()
        keyframe = next(packets, None)
        if keyframe is None:
            return None
        start_pts = time_of(keyframe)
        frames = self._frames(itertools.chain([keyframe], packets))
        # Frames shown before the keyframe may refer to others before it, which were not decoded.
        return (frame for frame in frames if frame.pts is None or frame.pts >= start_pts)

    def _sought(self) -> Iterator[Any]:
        """Packets from a keyframe before the range, found by the container's index."""
        back_s = _FIRST_STEP_BACK_S
        while (wanted_s := self._first / self._fps - back_s) > 0:
            try:
                self._video.container.seek(self._pts(wanted_s), stream=self._video.stream)
            except av.error.FFmpegError:
                return
            packets = self._packets()
            keyframe = next((packet for packet in packets if packet.is_keyframe), None)
            if keyframe is not None and self._is_before_range(keyframe):
                yield keyframe
                yield from packets
                return
            back_s *= 2

    def _skipped_to(self) -> Iterator[Any]:
        """The same where there is no index: packets are read from the start, and left undecoded.

        In such containers few frames have a time of their own; FFmpeg counts on from the last, and
        after a seek it counts from another.
        """
        self._reopen()
        packets = self._packets()
        group: list[Any] = []
        for packet in packets:
            if packet.is_keyframe and self._is_before_range(packet):
                group = []
            group.append(packet)
            if time_of(packet) is not None and not self._is_before_range(packet):
                break
        if group and group[0].is_keyframe:
            yield from group
            yield from packets

    def _reopen(self) -> None:
        self._video.close()
        self._video = OpenVideo(self._source)

    def _is_before_range(self, packet: Any) -> bool:
        pts = time_of(packet)
        if pts is None or self._start_pts is None or pts < self._start_pts:
            return False
        index = SampleClock(self._fps, self.info.frame_duration_s).take(self._seconds_of(pts))
        return index is not None and index < self._first

    def _pts(self, timestamp_s: float) -> int:
        assert self._start_pts is not None
        return self._start_pts + int(timestamp_s / self._video.stream.time_base)

    def _timed(self, frames: Iterator[Any]) -> Iterator[tuple[float, Any]]:
        """Each frame with its time from the start of the video, which only grows."""
        shift_s, last_s = 0.0, None
        for frame in frames:
            raw_s = self._seconds(frame)
            if raw_s is None:
                timestamp_s = 0.0 if last_s is None else last_s + self.info.frame_duration_s
            else:
                timestamp_s = raw_s + shift_s
                if last_s is not None and timestamp_s <= last_s:
                    next_s = last_s + self.info.frame_duration_s
                    if last_s - timestamp_s > _RESET_S:
                        shift_s += next_s - timestamp_s
                    timestamp_s = next_s
            last_s = timestamp_s
            self.duration_s = timestamp_s + self.info.frame_duration_s
            yield timestamp_s, frame

    def _seconds(self, frame: Any) -> float | None:
        if frame.pts is None:
            return None
        if self._start_pts is None:
            self._start_pts = frame.pts
        return self._seconds_of(frame.pts)

    def _seconds_of(self, pts: int) -> float:
        assert self._start_pts is not None
        return float((pts - self._start_pts) * self._video.stream.time_base)


def time_of(packet: Any) -> int | None:
    """A keyframe's time, in ticks. AVI has no presentation times; its keyframes are shown when decoded."""
    return packet.dts if packet.pts is None else packet.pts
