"""Groups of pictures: the pure arithmetic on packets' times, for any structure of B-frames."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.video import groups as module
from framewatch.video.groups import IrregularError, groups


def packet(pts: int | None, *, key: bool = False, size: int = 10, discard: bool = False) -> SimpleNamespace:
    return SimpleNamespace(pts=pts, is_keyframe=key, size=size, is_discard=discard, duration=1)


@st.composite
def streams(draw) -> list[SimpleNamespace]:
    """Packets in decoding order: runs of B-frames behind the frame that is shown after them, some of them
    behind a keyframe (open groups)."""
    packets, pts = [packet(0, key=True)], 0
    for num_before, key in draw(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30)):
        shown = [pts + 1 + number for number in range(num_before + 1)]
        pts = shown[-1]
        packets += [packet(pts, key=key), *(packet(time) for time in shown[:-1])]
    return packets


@given(streams())
def test_every_frame_is_shown_in_one_group_and_in_order(stream) -> None:
    found = list(groups(iter(stream)))
    assert list(itertools.chain(*(group.shown for group in found))) == sorted(p.pts for p in stream)
    assert [p for group in found for p in group.packets] == stream
    assert all(group.packets[0].is_keyframe for group in found)
    assert len(found) == sum(p.is_keyframe for p in stream)


@given(streams(), st.data())
def test_what_is_needed_is_all_up_to_the_last_of_them(stream, data) -> None:
    for group in groups(iter(stream)):
        wanted = data.draw(st.sets(st.sampled_from(group.shown)))
        needed = group.needed(wanted)
        assert needed == [*group.packets, *group.tail][: len(needed)]
        assert wanted <= {p.pts for p in needed}
        assert not needed or needed[-1].pts in wanted


def test_the_end_of_a_stream_is_no_packet() -> None:
    ended = [packet(0, key=True), packet(1), packet(None, size=0)]
    assert [group.shown for group in groups(iter(ended))] == [[0, 1]]


def test_what_comes_before_the_first_keyframe_is_left_out() -> None:
    stream = [packet(5), packet(6), packet(7, key=True), packet(8)]
    assert [group.shown for group in groups(iter(stream))] == [[7, 8]]


def test_what_an_edit_list_cuts_off_is_needed_and_not_shown() -> None:
    [group] = groups(iter([packet(-2, key=True, discard=True), packet(-1, discard=True), packet(0)]))
    assert group.shown == [0]
    assert [p.pts for p in group.needed([0])] == [-2, -1, 0]


IRREGULAR = {
    "no keyframe": [packet(0), packet(1)],
    "no time": [packet(0, key=True), packet(None)],
    "a time twice": [packet(0, key=True), packet(1), packet(1)],
    "a clock that starts anew": [packet(0, key=True), packet(1), packet(0, key=True), packet(1)],
    "a frame of the group before": [
        packet(0, key=True),
        packet(1),
        packet(5, key=True),
        packet(6),
        packet(3),
    ],
    "keyframes that never come": [packet(0, key=True), *(packet(n, size=99) for n in range(1, 20))],
}


@pytest.mark.parametrize("stream", IRREGULAR.values(), ids=IRREGULAR)
def test_irregular_streams_are_told(stream, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 1000)
    with pytest.raises(IrregularError):
        list(groups(iter(stream)))
