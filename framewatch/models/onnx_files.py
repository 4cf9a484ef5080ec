"""Reads the structure of ONNX files without the package onnx. Does not import Spark.

An ONNX file is a message in the format of Protocol Buffers: a series of fields with a number and a value, and
some values are messages again. Only the fields that lead to tensors are read, not the tensors' numbers.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from framewatch.errors import WeightsError

# Numbers of the fields of each message that are tensors or contain tensors, with the type of their message.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}  # fmt: skip
_GRAPH, _EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 7, 13, 14, 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10

# Start and end of a message in its file.
_Span = tuple[int, int]


def require_single_file(path: str | Path) -> None:
    """Checks that an ONNX file contains all weights of its network, so that its SHA-256 identifies them.

    Raises:
        WeightsError: the file is not an ONNX file, or it refers to weights in another file.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            other = next(_other_files(data), None)
    except (ValueError, IndexError) as error:
        reason = "it is truncated" if isinstance(error, IndexError) else error
        raise WeightsError(f"{path} is not an ONNX file ({reason}): export the network again") from error
    if other is not None:
        raise WeightsError(
            f"{path} keeps weights in another file, {other}: save the network as a single file, "
            f"onnx.save(onnx.load('{path}'), 'single.onnx')"
        )


def _other_files(data: mmap.mmap) -> Iterator[str]:
    """Yields the names of files with weights of tensors."""
    todo: list[tuple[str, _Span]] = [("model", (0, len(data)))]
    if not any(number == _GRAPH for number, _ in _fields(data, *todo[0][1])):
        raise ValueError("it has no graph")
    while todo:
        message, span = todo.pop()
        if message == "tensor":
            yield from _external(data, span)
            continue
        inner = _FIELDS[message]
        for number, value in _fields(data, *span):
            if number in inner and isinstance(value, tuple):
                todo.append((inner[number], value))


def _external(data: mmap.mmap, tensor: _Span) -> Iterator[str]:
    fields = list(_fields(data, *tensor))
    if (_DATA_LOCATION, _EXTERNAL) not in fields:
        return
    entries = {}
    for number, value in fields:
        if number == _EXTERNAL_DATA and isinstance(value, tuple):
            entry = {n: _text(data, span) for n, span in _fields(data, *value) if isinstance(span, tuple)}
            entries[entry.get(_ENTRY_KEY)] = entry.get(_ENTRY_VALUE, "")
    yield entries.get("location", "without a name")


def _text(data: mmap.mmap, span: _Span) -> str:
    return data[slice(*span)].decode("utf-8", "replace")


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int | _Span]]:
    """Yields number and value of each field: a span for bytes, text and messages, else a number."""
    while position < end:
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        value: int | _Span = 0
        if kind == _VARINT:
            value, position = _varint(data, position)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            value = position, position + length
            position += length
        elif kind in (_FIXED32, _FIXED64):
            position += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"byte {position - 1} is not the start of a field")
        if position > end:
            raise ValueError("it is truncated")
        yield number, value


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """Returns a number of 7 bits per byte, and the position after it."""
    value = 0
    for count in range(_MOST_VARINT_BYTES):
        byte = data[position + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    raise ValueError(f"byte {position} is not the start of a number")
