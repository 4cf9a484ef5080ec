"""Reads checkpoints of PyTorch without torch. Does not import Spark.

A checkpoint is a series of pickles, followed by the numbers of each tensor. A pickle may name any function to
call, so only the four names that a dictionary of tensors needs are allowed. The zip format, which PyTorch
writes since version 1.6, is not read.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framewatch.errors import WeightsError

SUFFIX = ".pth"

_MAGIC_NUMBER, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_NUM_LENGTH_BYTES = 8


@dataclass(frozen=True)
class _Tensor:
    """A tensor before its numbers are read: a part of a storage."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _make_tensor(storage: str, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
    # Types of storages, as NumPy calls them. Strings, because a pickle can set the state of a dtype.
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns an allowed name, and rejects all others."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> str:
        """Returns the key of a storage, and stores its type."""
        kind, dtype, key, _device, _length, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("it has views of storages")
        self.dtypes[key] = dtype
        return key


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint, which is a dictionary of float32 and int64 tensors.

    Raises:
        WeightsError: the file is not such a checkpoint, or it refers to anything else.
    """
    data = Path(path).read_bytes()
    try:
        if data.startswith(b"PK"):
            raise ValueError("it has the zip format: save it with _use_new_zipfile_serialization=False")
        return _read(data)
    except Exception as error:  # damaged pickles raise almost any exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{path} is not a PyTorch checkpoint that only contains tensors ({reason}): give another file"
        ) from error


def _read(data: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(data)

    def load() -> Any:
        return _Unpickler(file).load()

    if (load(), load()) != (_MAGIC_NUMBER, _PROTOCOL):
        raise ValueError("it begins with other numbers")
    if not load()["little_endian"]:
        raise ValueError("its numbers are big-endian")
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    storages: dict[str, np.ndarray] = {}
    keys = load()
    position = file.tell()
    for key in keys:
        length = int.from_bytes(data[position : position + _NUM_LENGTH_BYTES], "little")
        position += _NUM_LENGTH_BYTES
        storages[key] = np.frombuffer(data, unpickler.dtypes[key], length, position)
        position += storages[key].nbytes
    return {str(name): _values(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _values(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    # NumPy checks that the tensor is within the storage.
    size = storage.itemsize
    strides = [stride * size for stride in tensor.strides]
    return np.ndarray(tensor.shape, storage.dtype, storage.data, tensor.offset * size, strides)
