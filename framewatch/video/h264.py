"""Detects pictures that are missing from an H.264 stream by gaps in `frame_num`.

Decoders silently conceal a missing picture with a copy of another one, which damages the following pictures.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SLICE, _IDR_SLICE, _SEQUENCE = 1, 5, 7
# How much of a parameter set and of a slice header is read, with room for escape bytes.
_SEQUENCE_BYTES, _SLICE_BYTES = 128, 24
_IS_REFERENCE = 0x60
_WITH_CHROMA_FORMAT = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


@dataclass(frozen=True)
class _Sequence:
    """The fields of a sequence parameter set that are needed to parse slice headers.

    Attributes:
        num_bits: number of bits of `frame_num`.
        gaps_allowed: whether the encoder may skip numbers on purpose.
        separate_planes: whether each color plane is coded separately.
        aspect: width and height of a pixel; None if the stream does not specify them.
    """

    num_bits: int
    gaps_allowed: bool
    separate_planes: bool
    aspect: tuple[int, int] | None


class FrameNumbers:
    """Counts the pictures that are missing between packets, in decoding order."""

    def __init__(self, extradata: bytes | None) -> None:
        """Prepares for one stream; `extradata` is the decoder configuration from the container."""
        extradata = extradata or b""
        self._length_size = 0  # Annex B: start codes
        self._sequence: _Sequence | None = None
        self._last: int | None = None
        if extradata[:1] == b"\x01" and len(extradata) > 8:
            self._length_size = (extradata[4] & 3) + 1
            self._read_sequence(extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")])
        elif extradata:
            for unit in _units(extradata, 0):
                if unit[0] & 31 == _SEQUENCE:
                    self._read_sequence(unit)

    @property
    def aspect(self) -> tuple[int, int] | None:
        """Width and height of a pixel from the decoder configuration, unchecked; None if unspecified."""
        return self._sequence.aspect if self._sequence else None

    def num_missing_before(self, packet: Any) -> int:
        """Returns the number of pictures missing between the previous packet and this one.

        Numbers wrap around, often at 16, so a gap of exactly that length is not detected.
        """
        with contextlib.suppress(ValueError, IndexError):  # a damaged packet, which the decoder reports
            for unit in _units(packet, self._length_size):
                kind = unit[0] & 31
                if kind == _SEQUENCE:
                    self._read_sequence(unit)
                elif kind in (_SLICE, _IDR_SLICE):
                    return self._missing_before(unit)
        return 0

    def _missing_before(self, unit: bytes) -> int:
        if self._sequence is None:
            return 0
        bits = _Bits(_unescaped(unit[1:_SLICE_BYTES]))
        bits.golomb(), bits.golomb(), bits.golomb()  # first macroblock, type of slice, picture parameters
        if self._sequence.separate_planes:
            bits.take(2)
        number, last = bits.take(self._sequence.num_bits), self._last
        if unit[0] & _IS_REFERENCE:
            self._last = number
        begins_anew = unit[0] & 31 == _IDR_SLICE
        if begins_anew or last is None or number == last or self._sequence.gaps_allowed:
            return 0
        return (number - last - 1) % (1 << self._sequence.num_bits)

    def _read_sequence(self, unit: bytes) -> None:
        self._sequence = None
        with contextlib.suppress(ValueError, IndexError):
            self._sequence = _sequence(_Bits(_unescaped(unit[1:_SEQUENCE_BYTES])))


class _Bits:
    """Reads numbers bit by bit."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, num_bits: int) -> int:
        self._left -= num_bits
        if self._left < 0:
            raise ValueError("the data ends")
        return self._value >> self._left & ((1 << num_bits) - 1)

    def golomb(self) -> int:
        num_zeros = 0
        while not self.take(1):
            num_zeros += 1
        return (1 << num_zeros) - 1 + self.take(num_zeros)


def _sequence(bits: _Bits) -> _Sequence:
    """Parses the beginning of a sequence parameter set (7.3.2.1.1 of the standard)."""
    profile = bits.take(8)
    bits.take(16)  # constraints and level
    bits.golomb()
    separate_planes = False
    if profile in _WITH_CHROMA_FORMAT:
        chroma_format = bits.golomb()
        separate_planes = chroma_format == 3 and bool(bits.take(1))
        bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, lossless
        if bits.take(1):
            for number in range(12 if chroma_format == 3 else 8):
                if bits.take(1):
                    _pass_scaling_list(bits, 16 if number < 6 else 64)
    num_bits = bits.golomb() + 4
    order_type = bits.golomb()
    if order_type == 0:
        bits.golomb()
    elif order_type == 1:
        bits.take(1), bits.golomb(), bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()  # reference frames
    gaps_allowed = bool(bits.take(1))
    bits.golomb(), bits.golomb()  # width, height
    if not bits.take(1):  # fields
        bits.take(1)
    bits.take(1)
    if bits.take(1):
        for _ in range(4):  # cropping
            bits.golomb()
    # 255 (Extended_SAR): the aspect ratio is not a predefined one, and follows.
    follows = bits.take(1) and bits.take(1) and bits.take(8) == 255
    aspect = (bits.take(16), bits.take(16)) if follows else None
    return _Sequence(num_bits, gaps_allowed, separate_planes, aspect)


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        last = following or last


def _units(data: Any, length_size: int) -> Iterator[bytes]:
    """Yields the beginning of each NAL unit of a packet."""
    view, begin = memoryview(data), 0
    if length_size:
        while begin + length_size < len(view):
            length = int.from_bytes(view[begin : begin + length_size], "big")
            begin += length_size
            yield bytes(view[begin : begin + min(length, _SEQUENCE_BYTES)])
            begin += length
        return
    whole = bytes(view)
    while (begin := whole.find(b"\0\0\1", begin) + 3) > 2 and begin < len(whole):
        yield whole[begin : begin + _SEQUENCE_BYTES]


def _unescaped(unit: bytes) -> bytes:
    return unit.replace(b"\0\0\3", b"\0\0")
