"""Converts ONNX networks to OpenVINO networks that output features. Does not import Spark."""

import re
from collections.abc import Iterable
from typing import Any

from framewatch.errors import WeightsError
from framewatch.models.network_declaration import DeclaredPooling, NetworkDeclaration
from framewatch.models.openvino_networks import with_preprocessing

# The poolings of outputs with 2, 3 and 4 dimensions: features, tokens and maps.
_POOLINGS: dict[int, tuple[DeclaredPooling, ...]] = {
    2: ("none",),
    3: ("avg", "max", "first", "none"),
    4: ("avg", "max", "none"),
}
_SHAPES = "(n, features), (n, tokens, channels), or four dimensions"


def image_network(path: str, declared: NetworkDeclaration) -> Any:
    """Returns an ONNX network as an OpenVINO model with pooled output.

    The model maps (n, size, size, 3) uint8 BGR to (n, features) float32.

    Raises:
        WeightsError: the file is not an ONNX network, or its declaration does not fit.
    """
    import openvino

    try:
        network = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise WeightsError(
            f"OpenVINO cannot read {path} ({_reason(error)}): export the network again"
        ) from error
    network = _cut(network, _input(network, declared, path), _output(network, declared, path), path)
    _set_size(network, declared, path)
    pooled = _pooled(network.output(0).get_node().input_value(0), declared, path)
    network = openvino.Model([pooled], network.get_parameters(), "features")
    network = with_preprocessing(network, declared.preprocessing, declared.size, layout=declared.layout)
    _check_batches(network, declared.size, path)
    return network


def _input(network: Any, declared: NetworkDeclaration, path: str) -> Any:
    """Returns the parameter that takes the pictures."""
    parameters = network.get_parameters()
    if declared.input is None and len(parameters) == 1:
        return parameters[0]
    for parameter in parameters:
        if declared.input in parameter.output(0).get_names():
            return parameter
    names = _names(parameter.output(0) for parameter in parameters)
    found = f"{len(parameters)} inputs" if declared.input is None else f"no input '{declared.input}'"
    raise WeightsError(f"{path} has {found}: declare as `input` the one that takes pictures, of {names}")


def _output(network: Any, declared: NetworkDeclaration, path: str) -> Any:
    """Returns the declared tensor: one of the outputs, or an inner tensor."""
    outputs = [result.input_value(0) for result in network.get_results()]
    if declared.output is None and len(outputs) == 1:
        return outputs[0]
    inner = (output for node in network.get_ordered_ops() for output in node.outputs())
    if declared.output is not None:
        for output in (*outputs, *inner):
            if declared.output in output.get_names():
                return output
    found = f"{len(outputs)} outputs" if declared.output is None else f"no tensor '{declared.output}'"
    raise WeightsError(
        f"{path} has {found}: declare as `output` one of {_names(outputs)}, or an inner tensor"
    )


def _cut(network: Any, parameter: Any, output: Any, path: str) -> Any:
    """Returns the part of the network between an input and an output."""
    import openvino

    try:
        return openvino.Model([output], [parameter], "network")
    except RuntimeError as error:
        taken, others = _name(parameter.output(0)), _names(p.output(0) for p in network.get_parameters())
        raise WeightsError(
            f"output '{_name(output)}' of {path} does not only need '{taken}', but more of the inputs "
            f"{others}: declare another output"
        ) from error


def _set_size(network: Any, declared: NetworkDeclaration, path: str) -> None:
    """Sets the shape of the input: any number of pictures of the declared size."""
    import openvino

    size, network_input = declared.size, network.input(0)
    sides = [3, size, size] if declared.layout == "NCHW" else [size, size, 3]
    shape = network_input.get_partial_shape()
    if not shape.compatible(openvino.PartialShape([-1, *sides])):
        raise WeightsError(
            f"input '{_name(network_input)}' of {path} has the shape {shape.to_string()}, and its "
            f"declaration {declared.layout} with three channels and a size of {size}: declare another size, "
            "layout or input"
        )
    element_type = network_input.get_element_type()
    if not (element_type.is_real() or declared.is_raw):
        raise WeightsError(
            f"input '{_name(network_input)}' of {path} takes {element_type.get_type_name()}, not scaled "
            "pixels: declare scaling: raw"
        )
    try:
        network.reshape([-1, *sides])
    except RuntimeError as error:
        raise WeightsError(_fixed_batch(path, _reason(error))) from error


def _pooled(output: Any, declared: NetworkDeclaration, path: str) -> Any:
    """Returns the declared output, reduced to (n, features) float32."""
    import openvino
    import openvino.opset13 as ops

    shape, name = output.get_partial_shape(), _name(output)
    num_dimensions = shape.rank.get_length() if shape.rank.is_static else 0
    if num_dimensions not in _POOLINGS:
        raise WeightsError(
            f"output '{name}' of {path} has the shape {shape.to_string()}: declare one with {_SHAPES}"
        )
    if declared.pooling not in _POOLINGS[num_dimensions]:
        raise WeightsError(
            f"pooling={declared.pooling} does not fit output '{name}' of {path}, whose shape is "
            f"{shape.to_string()}: declare {' or '.join(_POOLINGS[num_dimensions])}"
        )
    if shape[0].is_static:
        raise WeightsError(_fixed_batch(path, f"output '{name}' has the shape {shape.to_string()}"))
    features = ops.convert(output, openvino.Type.f32)
    if declared.pooling == "first":
        features = ops.gather(features, _integers(0), _integers(1))
    elif declared.pooling in ("avg", "max"):
        reduce = ops.reduce_mean if declared.pooling == "avg" else ops.reduce_max
        features = reduce(features, _integers(_positions(num_dimensions, declared)))
    elif num_dimensions == 4 and declared.layout == "NCHW":
        features = ops.transpose(features, _integers([0, 2, 3, 1]))
    flat = ops.reshape(features, _integers([0, -1]), special_zero=True).output(0)
    if flat.get_partial_shape()[1].is_dynamic:
        raise WeightsError(
            f"output '{name}' of {path} has the shape {shape.to_string()} without a fixed number of "
            "features: declare another output or pooling"
        )
    return flat


def _check_batches(network: Any, size: int, path: str) -> None:
    """Checks that the features of a picture do not depend on the other pictures of its batch."""
    import numpy as np
    import openvino

    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    try:
        together = compiled(pictures)[0].copy()
        apart = np.concatenate([compiled(pictures[i : i + 1])[0].copy() for i in range(2)])
    except RuntimeError as error:
        raise WeightsError(_fixed_batch(path, _reason(error))) from error
    tolerance = 1e-3 * np.abs(np.nan_to_num(apart)).max()
    if together.shape != apart.shape or not np.allclose(together, apart, 1e-3, tolerance, equal_nan=True):
        raise WeightsError(_fixed_batch(path, "two pictures have other features together than apart"))


def _positions(num_dimensions: int, declared: NetworkDeclaration) -> list[int]:
    """Returns the dimensions of tokens, or of height and width."""
    if num_dimensions == 3:
        return [1]
    return [2, 3] if declared.layout == "NCHW" else [1, 2]


def _integers(values: int | list[int]) -> Any:
    import numpy as np
    import openvino.opset13 as ops

    return ops.constant(np.array(values, np.int64))


def _fixed_batch(path: str, reason: str) -> str:
    return (
        f"{path} does not compute any number of pictures at once ({reason}): export it with a dynamic first "
        "dimension of input and output"
    )


def _name(output: Any) -> str:
    return min(output.get_names(), default="without a name")


def _names(outputs: Iterable[Any]) -> str:
    return ", ".join(map(_name, outputs))


def _reason(error: Exception) -> str:
    """Returns OpenVINO's message without the place in its source code."""
    return re.sub(r"^.*\.cpp:\d+:", "", " ".join(str(error).split())).strip()[:200]
