"""Converted networks of OpenVINO: how they are read, and in which precision they compute."""

import zipfile
from pathlib import Path
from typing import Any

from framewatch.errors import WeightsError
from framewatch.models.spec import Precision

# What may stand between the pooling and the output.
_AFTER_POOLING = ("Result", "Reshape", "Squeeze", "Convert")


def has_bfloat16() -> bool:
    """Returns whether the CPU has bfloat16 instructions."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def inference_precision(precision: Precision) -> str:
    """Returns OpenVINO's name of the floating-point type; for int8, that of the unquantized layers."""
    fast = precision == "bfloat16" or (precision == "int8" and has_bfloat16())
    return "bf16" if fast else "f32"


def read_converted(path: str, core: Any) -> Any:
    """Reads a converted network, a zip file with OpenVINO's `model.xml` and `model.bin`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return core.read_model(archive.read("model.xml"), archive.read("model.bin"))
    except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{path} is not a converted network ({error}): delete it, and framewatch creates it again"
        ) from error


def add_maps(model: Any) -> list[tuple[int, ...]]:
    """Adds the feature maps before the pooling as a second output.

    Returns:
        The two axes of positions in a list; an empty one if the network ends without pooling.
    """
    node = model.output(0).node
    while node.get_type_name() in _AFTER_POOLING:
        node = node.input_value(0).node
    if node.get_type_name() not in ("ReduceMean", "ReduceMax"):
        return []
    maps, axes = node.input_value(0), node.input_value(1).node.get_data()
    model.add_outputs(maps)
    return [tuple(int(axis) for axis in sorted(axes))]
