"""Groups of pictures: which packets must be decoded for a few frames, so that no others are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Two groups are in memory at once. A keyframe every ten seconds of 1080p makes them about 10 MB.
MAX_GROUP_BYTES = 64 << 20


class IrregularError(Exception):
    """The packets' times do not tell which frames are shown when: only decoding everything does."""


@dataclass(frozen=True)
class Group:
    """A keyframe and the packets up to the next one, in the order of decoding.

    Attributes:
        packets: of PyAV; the first is the keyframe.
        tail: the next keyframe and the packets behind it that are shown before it: they refer to this
            group too. Empty where there are none.
        shown: presentation times, in ticks, of the frames from this keyframe to the next, in order.
        end: when the last of them ends, in ticks, as far as the packets tell.
        next: when the next keyframe is shown; None behind the last group.
    """

    packets: list[Any]
    tail: list[Any]
    shown: list[int]
    end: int
    next: int | None = None

    def needed(self, times: Iterable[int]) -> list[Any]:
        """The packets to decode, in order, for the frames that are shown at `times`; none for none."""
        wanted = set(times)
        packets = [*self.packets, *self.tail]
        ends = (number + 1 for number, packet in enumerate(packets) if packet.pts in wanted)
        return packets[: max(ends, default=0)]


def groups(packets: Iterable[Any]) -> Iterator[Group]:
    """Takes a stream's packets apart at its keyframes.

    What comes before the first keyframe is left out.

    Raises:
        IrregularError: there is no keyframe, a packet has no time, times repeat or step back, or a group
            has more than `MAX_GROUP_BYTES`.
    """
    current: list[Any] = []
    coming: list[Any] = []  # the next keyframe and what is shown before it, until its own group begins
    num_bytes = 0
    for packet in packets:
        num_bytes = packet.size + (0 if packet.is_keyframe else num_bytes)
        if packet.size == 0 or (not current and not packet.is_keyframe and num_bytes < MAX_GROUP_BYTES):
            continue  # the last, which flushes decoders; or what comes before the first keyframe
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
    """A group begins with its keyframe; what is shown before that comes right behind it."""
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
    # What an edit list cuts off is decoded for others to refer to, and not shown.
    shown = sorted(packet.pts for packet in own if not packet.is_discard)
    end = max(packet.pts + (packet.duration or 0) for packet in own)
    return Group(current, coming if leading else [], shown, end, coming[0].pts if coming else None)
