"""Groups of pictures: finds the packets that must be decoded for selected frames."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Two groups are in memory at once. With a keyframe every ten seconds, 1080p takes about 10 MB.
MAX_GROUP_BYTES = 64 << 20


class IrregularError(Exception):
    """Packet timestamps do not give the times of frames, so the whole stream must be decoded."""


@dataclass(frozen=True)
class Group:
    """A keyframe and the packets up to the next one, in decoding order.

    Attributes:
        packets: PyAV packets; the first is the keyframe.
        tail: the next keyframe and the packets after it that are presented before it, which also refer
            to this group; empty without such packets.
        shown: presentation timestamps, in ticks, of the frames from this keyframe to the next, sorted.
        end: end of the last of these frames, in ticks, from packet durations.
        next: presentation timestamp of the next keyframe, in ticks; None for the last group.
    """

    packets: list[Any]
    tail: list[Any]
    shown: list[int]
    end: int
    next: int | None = None

    def needed(self, times: Iterable[int]) -> list[Any]:
        """Returns the packets to decode, in order, for frames at these presentation timestamps."""
        wanted = set(times)
        packets = [*self.packets, *self.tail]
        ends = (number + 1 for number, packet in enumerate(packets) if packet.pts in wanted)
        return packets[: max(ends, default=0)]


def groups(packets: Iterable[Any]) -> Iterator[Group]:
    """Splits the packets of a stream into groups at its keyframes, without packets before the first one.

    Raises:
        IrregularError: there is no keyframe, a packet has no timestamp, timestamps repeat or go back, or a
            group has more than `MAX_GROUP_BYTES`.
    """
    current: list[Any] = []
    coming: list[Any] = []  # the next keyframe and packets presented before it, until its group begins
    num_bytes = 0
    for packet in packets:
        num_bytes = packet.size + (0 if packet.is_keyframe else num_bytes)
        if packet.size == 0 or (not current and not packet.is_keyframe and num_bytes < MAX_GROUP_BYTES):
            continue  # the last packet, which flushes decoders, or a packet before the first keyframe
        if packet.pts is None or num_bytes > MAX_GROUP_BYTES:
            raise IrregularError
        if coming and (packet.is_keyframe or packet.pts > coming[0].pts):
            yield _group(current, coming)
            current, coming = coming, []
        if packet.is_keyframe and current:
            coming = [packet]
        else:
            (coming or current).append(packet)
            _require_order(coming or current)
    if coming:
        yield _group(current, coming)
        current = coming
    if not current:
        raise IrregularError
    yield _group(current, [])


def _require_order(packets: list[Any]) -> None:
    """Checks that a group begins with its keyframe, directly followed by packets presented before it."""
    start, last = packets[0], packets[-1]
    if not start.is_keyframe or (len(packets) > 2 and last.pts < start.pts < packets[-2].pts):
        raise IrregularError


def _group(current: list[Any], coming: list[Any]) -> Group:
    leading = coming[1:]
    start = current[0].pts
    own = [packet for packet in [*current, *leading] if packet.pts >= start]
    times = sorted(packet.pts for packet in own)
    if len(set(times)) < len(times) or (coming and coming[0].pts <= times[-1]):
        raise IrregularError
    # Frames that an edit list removes are decoded as references, but not shown.
    shown = sorted(packet.pts for packet in own if not packet.is_discard)
    end = max(packet.pts + (packet.duration or 0) for packet in own)
    return Group(current, coming if leading else [], shown, end, coming[0].pts if coming else None)
