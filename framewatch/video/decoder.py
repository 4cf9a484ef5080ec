"""Decodes samples: reads a video once, and decodes only the frames that the samples need."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from framewatch.errors import VideoError
from framewatch.video.groups import Group, IrregularError, groups
from framewatch.video.picture import FrameConverter
from framewatch.video.sampling import LOOK_BACK, SampleClock, spacings
from framewatch.video.stream import Stream
from framewatch.video.times import timed

# A distance of more than this many frame durations is a gap.
_GAP_FRAMES = 4
# How far before its range a part first seeks for a keyframe; doubled until one is found.
_FIRST_STEP_BACK_S = 2.0


@dataclass(frozen=True)
class DecodedFrame:
    """A decoded sample.

    Attributes:
        index: 0-based sample number.
        timestamp_s: presentation timestamp of the frame, seconds from the first frame of the video.
        image: (height, width, 3) uint8, BGR.
        followers: timestamp and picture of each frame of its burst after it.
    """

    index: int
    timestamp_s: float
    image: np.ndarray
    followers: list[tuple[float, np.ndarray]] = field(default_factory=list)


class Decoding:
    """Reads a video once. Iterate over `samples()`, then read the attributes for the outcome.

    Attributes:
        info: metadata from the container.
        duration_s: end of the last frame so far, in seconds.
        num_samples: number of frames yielded so far.
        longest_gap_s: longest distance between consecutive frames so far, in seconds.
    """

    def __init__(
        self,
        source: str,
        fps: float,
        *,
        first: int = 0,
        stop: int | None = None,
        max_side: int = 0,
        decode_all: bool = False,
        burst: int = 1,
        burst_step_s: float = 0.2,
    ) -> None:
        """Opens the file.

        Args:
            source: a local path, or a URI that fsspec reads.
            fps: samples a second.
            first: index of the first sample; decoding begins at a keyframe before it.
            stop: exclusive end of the sample indices; None for all samples.
            max_side: maximum length of the longer side, pixels; 0 for no limit.
            decode_all: whether to decode all frames, which finds all damage.
            burst: pictures of each sample's burst, itself included.
            burst_step_s: seconds from one picture of a burst to the next.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        self._source, self._stream = source, Stream(source)
        self.info = self._stream.info
        self._fps, self._first, self._stop, self._max_side = fps, first, stop, max_side
        self._decode_all = decode_all
        self.duration_s, self.num_samples, self.longest_gap_s = 0.0, 0, 0.0
        self._start_pts: int | None = None
        self._clock = SampleClock(fps, burst=burst, step_s=burst_step_s)
        self._waiting: DecodedFrame | None = None  # a sample whose burst is not complete
        self._before: list[int] = []  # presentation timestamps of the last frames, in ticks
        # Integers, because arithmetic with Fraction would take a tenth of the time at the same precision.
        self._numerator, self._denominator = self._stream.time_base.as_integer_ratio()
        self._pictures = FrameConverter(max_side=max_side)

    @property
    def num_damaged(self) -> int:
        """Number of frames so far that are lost, or in which the decoder concealed an error."""
        return self._stream.num_damaged + self._stream.num_unreadable

    @property
    def gap_s(self) -> float:
        """The longest time without a frame, in seconds; 0 if it is at most a few frame durations."""
        return self.longest_gap_s if self.longest_gap_s > _GAP_FRAMES * self.info.frame_duration_s else 0.0

    @property
    def goes_on_in(self) -> list[str]:
        """Descriptions of other streams that continue after the end of this one, once all is read."""
        return self._stream.goes_on_in

    def samples(self) -> Iterator[DecodedFrame]:
        """Yields the samples in order of time.

        Raises:
            VideoError: no frame of the video could be decoded.
        """
        with contextlib.closing(self):
            try:
                yield from self._by_groups()
            except IrregularError:
                self._stream.reopen()
                yield from self._taken(self._one_after_the_other())
            yield from self._waited_for()
        if self.num_samples == 0 and self._first == 0:
            raise VideoError("no frame could be decoded: the file is damaged or has no pictures")

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def _one_after_the_other(self) -> Iterator[tuple[float, float, Any]]:
        """Yields all frames with their time and typical duration, both in seconds."""
        last_s = 0.0
        for time_s, frame_s, frame in timed(self._stream):
            self.longest_gap_s, last_s = max(self.longest_gap_s, time_s - last_s), time_s
            yield time_s, frame_s, frame

    def _by_groups(self) -> Iterator[DecodedFrame]:
        """Yields the samples, and decodes only the groups of pictures that contain them.

        Raises:
            IrregularError: packet timestamps do not show in advance which frames are samples.
        """
        packets = self._packets_from_keyframe()
        self._stream.num_damaged = 0
        if self._first:  # another part counts the damage before the range
            self._stream.num_unreadable = 0
        before: Group | None = None
        for group in groups(packets):
            if before is None and self._first == 0 and group.packets[0].pts > self._start:
                raise IrregularError  # there are frames before the first keyframe
            shown = self._shown_of(group)
            ahead = dataclasses.replace(self._clock)
            placed = {pts: ahead.place(self._seconds_of(pts), frame_s) for pts, frame_s in shown.items()}
            samples = {pts: place[0] for pts, place in placed.items() if place is not None}
            wanted = [pts for pts, index in samples.items() if self._is_wanted(index)]
            # Another part decodes up to its own samples, and counts the damage there.
            earlier = group.needed(pts for pts, index in samples.items() if index < self._first)
            counted = {packet.pts for packet in earlier}
            number = self._number_of(group.packets[0].pts)
            owned = self._decode_all and self._is_wanted(number)
            if self._decode_all and not owned:
                counted = {packet.pts for packet in group.packets}
            complete, num_damaged = True, self._stream.num_damaged
            if wanted or owned:
                complete = yield from self._chosen(group, wanted, counted, shown)
            if complete:
                self._clock = ahead
                last = max(shown, default=self._start)
                self._has_shown(self._seconds_of(last), self._seconds_of(group.end) - self._seconds_of(last))
            else:
                self._stream.num_damaged = num_damaged  # the packets are read again
                yield from self._all_of(group, before, counted, shown)
            if self._ends_with(group, number if self._decode_all else self._clock.next):
                return
            before = group

    def _ends_with(self, group: Group, number: int) -> bool:
        """Returns whether the range ends with a group, given the index of the next sample."""
        if self._stop is None or number < self._stop or self._goes_on():
            return False
        return group.next is None or self._seconds_of(group.next) * self._fps >= self._stop

    def _goes_on(self) -> bool:
        """Returns whether pictures of the last sample's burst are in the next group."""
        return (
            self._waiting is not None
            and self._clock.sample == self._waiting.index
            and not self._clock.is_complete
        )

    def _shown_of(self, group: Group) -> dict[int, float]:
        """Returns the presentation timestamps of a group's frames, in ticks, with durations in seconds."""
        times = [pts for pts in group.shown if pts >= self._start]
        lasting = spacings(times, before=self._before, after=group.next)
        steps = itertools.pairwise([*self._before[-1:], *times])
        self._before = [*self._before, *times][-LOOK_BACK:]
        tick_s = self._numerator / self._denominator
        self.longest_gap_s = max(self.longest_gap_s, max((b - a for a, b in steps), default=0) * tick_s)
        # With damaged packets, distances may be too long, so the nominal rate limits them.
        most_s = self.info.frame_duration_s or math.inf
        return {pts: min(ticks * tick_s, most_s) for pts, ticks in zip(times, lasting, strict=True)}

    def _is_wanted(self, index: int) -> bool:
        return self._first <= index and (self._stop is None or index < self._stop)

    def _chosen(
        self, group: Group, wanted: list[int], counted: set[int], shown: dict[int, float]
    ) -> Generator[DecodedFrame, None, bool]:
        """Yields the frames at the wanted timestamps; returns whether all were decoded, in order."""
        due = iter(wanted)
        pts = next(due, None)
        packets = [*group.packets, *group.tail] if self._decode_all else group.needed(wanted)
        only = None if self._decode_all else set(wanted)
        for frame in self._stream.frames_from_keyframe(packets, wanted=only, counted=counted):
            if pts is not None and frame.pts > pts:
                return False
            if frame.pts == pts:
                yield from self._taken([(self._seconds_of(frame.pts), shown[frame.pts], frame)])
                pts = next(due, None)
        return pts is None

    def _all_of(
        self, group: Group, before: Group | None, counted: set[int], shown: dict[int, float]
    ) -> Iterator[DecodedFrame]:
        """Decodes a whole group and the group before it, after the frame of a sample failed to decode.

        If that frame is damaged, the next decodable frame becomes the sample. If not, the decoder could not
        start at the keyframe, because the picture is only complete some frames later (intra refresh).
        """
        if before is None and self._first > 0:
            raise IrregularError
        lead = before.packets if before else []
        frames = self._stream.frames_from_keyframe(
            [*lead, *group.packets, *group.tail], counted={*counted, *(packet.pts for packet in lead)}
        )
        yield from self._taken(
            (self._seconds_of(frame.pts), shown[frame.pts], frame) for frame in frames if frame.pts in shown
        )

    def _taken(self, timed: Iterable[tuple[float, float, Any]]) -> Iterator[DecodedFrame]:
        """Yields the samples of the range from frames with their time and typical duration, in seconds.

        A sample with a burst is yielded after the last picture of its burst.
        """
        for timestamp_s, frame_s, frame in timed:
            self._has_shown(timestamp_s, (frame.duration or 0) * self._numerator / self._denominator)
            index, picture = self._clock.place(timestamp_s, frame_s) or (-1, 0)
            if self._stop is not None and index >= self._stop:
                return
            if index < self._first:
                continue
            if picture == 0:
                yield from self._waited_for()  # of an incomplete burst
                self.num_samples += 1
                image = self._pictures.upright(frame, self._stream.aspect)
                self._waiting = DecodedFrame(index, timestamp_s, image)
            elif self._waiting is not None:
                image = self._pictures.upright(frame, self._stream.aspect)
                self._waiting.followers.append((timestamp_s, image))
            if self._clock.is_complete:
                yield from self._waited_for()

    def _waited_for(self) -> Iterator[DecodedFrame]:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            yield waiting

    def _has_shown(self, timestamp_s: float, lasts_s: float) -> None:
        """Updates the duration with the end of a frame, from the packet's duration or the nominal rate."""
        lasts_s = lasts_s if lasts_s > 0 else self.info.frame_duration_s
        self.duration_s = max(self.duration_s, timestamp_s + lasts_s)

    def _packets_from_keyframe(self) -> Iterator[Any]:
        """Returns packets from the start, or from a keyframe before the range if there is an index.

        Containers without an index are read from the start, which is cheap without decoding. Few of their
        frames have a timestamp; FFmpeg extrapolates from the last one, which a seek would change.
        """
        frame, packets = self._stream.first_frame()
        if frame is None or frame.pts is None:
            raise IrregularError
        self._start_pts = frame.pts
        if self._first == 0 or not self.info.has_index:
            return packets
        back_s = _FIRST_STEP_BACK_S
        while (wanted_s := self._first / self._fps - back_s) > 0:
            pts = self._start + int(wanted_s / self._stream.time_base)
            sought = self._stream.packets_from(pts, accept=self._is_before_range)
            if sought is not None:
                # Also reads the group before, in case this one is damaged; several, if groups are one frame.
                back = 1 + int((LOOK_BACK + 1) * self.info.frame_duration_s / self._stream.time_base)
                earlier = self._stream.packets_from(sought[0] - back, accept=lambda p: p.pts >= self._start)
                sought = earlier or self._stream.packets_from(pts, accept=self._is_before_range)
                return sought[1] if sought else self._from_the_start()
            back_s *= 2
        return self._from_the_start()

    def _from_the_start(self) -> Iterator[Any]:
        self._stream.reopen()
        return self._stream.packets()

    def _is_before_range(self, packet: Any) -> bool:
        """Returns whether a keyframe's sample index is below that of the first sample.

        Whether a frame is a sample depends on the frame before it, so decoding must begin before the range to
        give the same samples as decoding from the start.
        """
        return packet.pts >= self._start and self._number_of(packet.pts) < self._first

    def _number_of(self, pts: int) -> int:
        """Returns the highest sample index that a frame at `pts` may have."""
        return SampleClock(self._fps).take(max(0.0, self._seconds_of(pts)), math.inf) or 0

    @property
    def _start(self) -> int:
        assert self._start_pts is not None
        return self._start_pts

    def _seconds_of(self, pts: int) -> float:
        """Returns seconds from the first frame, whose timestamp must have been read."""
        return (pts - self._start) * self._numerator / self._denominator
