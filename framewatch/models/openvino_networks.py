"""Networks of OpenVINO: how converted ones are read, in which precision they compute, and their input."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from framewatch.errors import WeightsError
from framewatch.models.registry import Preprocessing
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
        The axes of positions in a list; an empty one if the network ends without pooling.
    """
    node = model.output(0).node
    while node.get_type_name() in _AFTER_POOLING:
        node = node.input_value(0).node
    if node.get_type_name() not in ("ReduceMean", "ReduceMax"):
        return []
    maps, axes = node.input_value(0), np.atleast_1d(node.input_value(1).node.get_data())
    if len(maps.partial_shape) != len(axes) + 2:  # more than pictures, positions and channels
        return []
    model.add_outputs(maps)
    return [tuple(sorted(int(axis) % len(maps.partial_shape) for axis in axes))]


def with_preprocessing(network: Any, scaling: Preprocessing, size: int, *, layout: str = "NCHW") -> Any:
    """Adds the scaling of pixels to a network.

    Args:
        network: an OpenVINO model with one input.
        scaling: how pixels from 0 to 255 are scaled.
        size: width and height of the input, pixels.
        layout: order of the dimensions of the input of `network`.

    Returns:
        The model, which now takes (n, size, size, 3) uint8 BGR.
    """
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    element_type = network.input(0).get_element_type()
    steps = PrePostProcessor(network)
    tensor = steps.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_shape([-1, size, size, 3]).set_color_format(ColorFormat.BGR)
    preprocess = steps.input().preprocess()
    preprocess.convert_element_type(openvino.Type.f32)
    if scaling.order == "RGB":
        preprocess.convert_color(ColorFormat.RGB)
    preprocess.mean(list(scaling.mean)).scale(list(scaling.std))
    if element_type != openvino.Type.f32:
        preprocess.convert_element_type(element_type)
    steps.input().model().set_layout(openvino.Layout(layout))
    return steps.build()
