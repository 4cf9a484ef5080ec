"""Takes the keyframe nearest to each sample, for cameras with about one keyframe per second."""

import contextlib
import heapq
import itertools
import operator
from collections.abc import Iterator
from typing import Any

from framewatch.errors import VideoError
from framewatch.video.decoder import DecodedFrame, Decoding
from framewatch.video.groups import IrregularError
from framewatch.video.sampling import SampleClock

# Each missing sample is decoded from seconds before it. With too many, a single full pass is faster.
LEAST_SHARE = 0.9


class KeyframeDecoding(Decoding):
    """Variant of `Decoding` in which sample k is the keyframe nearest to k / fps, within a tolerance.

    A sample without such a keyframe is decoded exactly. So is a whole video whose timestamps restart, or in
    which more than a tenth of the samples have no such keyframe.
    """

    def __init__(self, source: str, fps: float, *, tolerance_s: float, **part: Any) -> None:
        """Opens the file.

        Args:
            source: a local path, or a URI that fsspec reads.
            fps: samples a second.
            tolerance_s: maximum distance of a keyframe from k / fps, in seconds.
            part: `first`, `stop` and `max_side`, as for `Decoding`.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        super().__init__(source, fps, **part)
        self._tolerance_s = tolerance_s

    def samples(self) -> Iterator[DecodedFrame]:
        """Yields the samples in order, each with the timestamp of its own frame.

        Raises:
            VideoError: no frame of the video could be decoded.
        """
        near = self._nearest_keyframes()
        self._stream.reopen()
        num_samples = self._num_samples()
        if not near or len(near) < LEAST_SHARE * num_samples:
            yield from super().samples()
            return
        wanted = range(self._first, min(num_samples, self._stop or num_samples))
        chosen = {pts: index for index, pts in near.items() if index in wanted}
        missing = [index for index in wanted if index not in near]
        with contextlib.closing(self):
            by_index = operator.attrgetter("index")
            yield from heapq.merge(self._keyframes(chosen), self._exactly(missing), key=by_index)

    def _num_samples(self) -> int:
        """Returns the number of samples that exact decoding gives in a video without gaps."""
        frame_s = self.info.frame_duration_s
        last = SampleClock(self._fps).take(self.duration_s - frame_s, frame_s)
        return 0 if last is None else last + 1

    def _nearest_keyframes(self) -> dict[int, int]:
        """Returns {sample index: timestamp of its keyframe in ticks}; empty if timestamps restart."""
        near: dict[int, int] = {}
        last: int | None = None
        try:
            frame, packets = self._stream.first_frame()
        except IrregularError:
            return near
        if frame is None or frame.pts is None:
            return near
        self._start_pts = frame.pts
        for packet in packets:
            pts = packet.pts
            if pts is None or packet.size == 0 or packet.is_discard or pts < self._start:
                continue
            if packet.is_keyframe:
                if last is not None and pts <= last:
                    return {}
                last = pts
                self._choose(near, pts)
            self._has_shown(self._seconds_of(pts), (packet.duration or 0) * float(self._stream.time_base))
        return near

    def _choose(self, near: dict[int, int], pts: int) -> None:
        """Assigns the keyframe at `pts` to the nearest sample, unless another keyframe is nearer."""
        timestamp_s = self._seconds_of(pts)
        index = round(timestamp_s * self._fps)
        distance_s = abs(timestamp_s - index / self._fps)
        if distance_s > self._tolerance_s:
            return
        if index in near and abs(self._seconds_of(near[index]) - index / self._fps) <= distance_s:
            return
        near[index] = pts

    def _keyframes(self, chosen: dict[int, int]) -> Iterator[DecodedFrame]:
        """Yields the frames whose timestamps are keys of `chosen`, in order, and decodes no others."""
        if not chosen:
            return
        sought = None
        if self._first and self.info.has_index:
            sought = self._stream.packets_from(min(chosen), accept=lambda packet: packet.pts <= min(chosen))
        last = max(chosen)
        for packet in sought[1] if sought else self._stream.packets():
            if packet.pts is not None and packet.pts > last:
                return
            if packet.pts not in chosen:
                continue
            for frame in self._stream.frames_from_keyframe([packet]):
                index = chosen.get(frame.pts)
                if index is not None:
                    self.num_samples += 1
                    image = self._pictures.upright(frame, self._stream.aspect)
                    yield DecodedFrame(index, self._seconds_of(frame.pts), image)

    def _exactly(self, missing: list[int]) -> Iterator[DecodedFrame]:
        """Yields the samples without a keyframe, one run of consecutive samples at a time."""
        for _, run in itertools.groupby(enumerate(missing), key=lambda item: item[1] - item[0]):
            indexes = [index for _, index in run]
            first, stop = indexes[0], indexes[-1] + 1
            exact = Decoding(self._source, self._fps, first=first, stop=stop, max_side=self._max_side)
            with contextlib.suppress(VideoError):  # the last sample may be after the last frame
                for frame in exact.samples():
                    self.num_samples += 1
                    yield frame
            self._stream.num_damaged += exact.num_damaged
