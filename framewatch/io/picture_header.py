"""Reads size and format of a picture from its header, before a decoder allocates memory.

Supports the same files as OpenCV's decoders. If a file states several sizes, the largest one counts.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

# Progressive JPEGs have about ten scans. A decoder processes the whole picture for each scan.
_MOST_SCANS = 200
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_CHANNELS, _TIFF_STRIP = 256, 257, 258, 277, 278
_TIFF_TILE = (322, 323)
_TIFF_TAGS = {_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_CHANNELS, _TIFF_STRIP, *_TIFF_TILE}
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_TIFF_ENTRIES = 1000


@dataclass(frozen=True)
class Header:
    """The header of a picture.

    Attributes:
        kind: `JPEG`, `PNG`, `GIF`, `TIFF`, `WebP` or `BMP`.
        width: pixels.
        height: pixels.
        num_pixels: pixels that a decoder allocates at once; a tile may be larger than the picture.
        is_whole: False if the file is known to be truncated.
    """

    kind: str
    width: int
    height: int
    num_pixels: int
    is_whole: bool = True


def read_header(data: bytes) -> Header | None:
    """Reads the header of a picture; returns None if it has none of the six formats."""
    for signature, parse in _FORMATS:
        if data.startswith(signature):
            try:
                header = parse(data)
            except (struct.error, OverflowError):  # truncated
                return None
            return header if header is not None and header.width > 0 and header.height > 0 else None
    return None


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return Header("PNG", width, height, width * height)


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", width, height, width * height)


def _bmp(data: bytes) -> Header | None:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header("BMP", width, height, width * height)
    width, height = struct.unpack_from("<ii", data, 18)
    bits, compression = struct.unpack_from("<HI", data, 28)
    height = abs(height)  # negative: the first row is the top one
    (start,) = struct.unpack_from("<I", data, 10)
    needed = start + (width * bits + 31) // 32 * 4 * height
    is_whole = compression not in (0, 3) or len(data) >= needed
    return Header("BMP", width, height, width * height, is_whole)


def _webp(data: bytes) -> Header | None:
    (size,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (number & 0x3FFF for number in struct.unpack_from("<HH", data, 26))
    else:
        return None
    return Header("WebP", width, height, width * height, len(data) >= size + 8)


def _jpeg(data: bytes) -> Header | None:
    sizes: list[tuple[int, int]] = []
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1] if at + 1 < len(data) else 0xD9
        if (
            marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8
        ):  # fill bytes, or a marker without a segment
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return None
        if marker == 0xDA:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            sizes.append((width, height))
        at += 2 + max(2, length)
    if at < 0 or not sizes:
        return None
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    # Compressed data cannot contain these markers, because it escapes every 0xFF byte.
    end = data.find(b"\xff\xd9", at)
    is_whole = end >= 0 and data.count(b"\xff\xda", at, end) <= _MOST_SCANS
    return Header("JPEG", width, height, width * height, is_whole)


def _tiff(data: bytes) -> Header | None:
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version == 43:
        (start,) = struct.unpack_from(f"{order}Q", data, 8)
        (count,) = struct.unpack_from(f"{order}Q", data, start)
        first, length, value_at = start + 8, 20, 12
    else:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        first, length, value_at = start + 2, 12, 8
    tags: dict[int, int] = {}
    for number in range(min(count, _MOST_TIFF_ENTRIES)):
        entry = first + number * length
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if kind in _TIFF_TYPES and tag in _TIFF_TAGS:
            at = entry + value_at
            (values,) = struct.unpack_from(f"{order}{'Q' if version == 43 else 'I'}", data, entry + 4)
            if (
                values * struct.calcsize(_TIFF_TYPES[kind]) > length - value_at
            ):  # the entry holds an offset to the values
                (at,) = struct.unpack_from(f"{order}{'Q' if version == 43 else 'I'}", data, at)
            (value,) = struct.unpack_from(f"{order}{_TIFF_TYPES[kind]}", data, at)
            tags[tag] = max(value, tags.get(tag, 0))
    width, height = tags.get(_TIFF_WIDTH, 0), tags.get(_TIFF_HEIGHT, 0)
    if tags.get(_TIFF_CHANNELS, 1) > 4 or tags.get(_TIFF_BITS, 1) > 16:
        return None
    strip = tags.get(_TIFF_STRIP, 0)
    rows = max(height, 0 if strip == 0xFFFFFFFF else strip)  # 0xFFFFFFFF: one strip for all rows
    tile = tags.get(_TIFF_TILE[0], 0) * tags.get(_TIFF_TILE[1], 0)
    return Header("TIFF", width, height, max(width * rows, tile))


_FORMATS: list[tuple[bytes, Callable[[bytes], Header | None]]] = [
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
    (b"BM", _bmp),
]
