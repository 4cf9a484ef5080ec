"""Resolves names to a network with its weights, and to the way it runs."""

from collections.abc import Callable

from framewatch.errors import ConfigError, WeightsError
from framewatch.models import conversion, engines
from framewatch.models.network_declaration import NetworkDeclaration, declaration_path, read_declaration
from framewatch.models.onnx_files import require_single_file
from framewatch.models.registry import Pooling, get_model, is_model_file, is_onnx_file
from framewatch.models.spec import FeatureSpec, Network, Resize
from framewatch.models.weights import model_file, resolve_weights
from framewatch.models.weights_file import Weights

OnMessage = Callable[[str], None]


def _ignore(message: str) -> None:
    pass


def resolve_network(
    model: str,
    weights: str | None,
    *,
    pooling: Pooling | None = None,
    layer: str | None = None,
    preprocessing: str | None = None,
    declaration: NetworkDeclaration | None = None,
    sha256: str | None = None,
    on_message: OnMessage = _ignore,
) -> Network:
    """Resolves a model and its weights to a network that outputs features.

    Args:
        model: a registered name, or the path of a whole Keras model or an ONNX network.
        weights: for a registered model, a name such as `imagenet`, or a path; None for a model file.
        pooling: how the last feature map is reduced to a vector, `avg` if None; ignored for CLIP, which
            outputs a vector; None for an ONNX network, which declares it.
        layer: for a Keras model file, the layer to use as output; None for its own output.
        preprocessing: for a Keras model file, a key of `PREPROCESSINGS`.
        declaration: for an ONNX network, its input and output; None to read the YAML file beside it.
        sha256: required SHA-256 of the weights; None for any.
        on_message: called with one line when a download begins.

    Raises:
        ConfigError: a setting for another kind of model is used, or the declaration is missing or not valid.
        WeightsError: the weights are not found, or have another SHA-256.
    """
    found = find_weights(model, weights, classes=False, sha256=sha256, on_message=on_message)
    if is_onnx_file(model):
        if pooling or layer or preprocessing:
            raise ConfigError(
                f"pooling, layer and preprocessing are not for {model}: clear them, and declare output, "
                f"scaling and pooling in {declaration_path(model).name}"
            )
        declared = declaration or read_declaration(model)
        return Network(found.name, found, declared.pooling, "declared", declaration=declared)
    if declaration:
        raise ConfigError(f"a declaration is for ONNX networks, not for {model}: clear it")
    pooling = pooling or "avg"
    if is_model_file(model):
        return Network(found.name, found, pooling, preprocessing or "raw", layer)
    if layer or preprocessing:
        raise ConfigError(f"layer and preprocessing are for model files, not for {model}: clear them")
    registered = get_model(model)
    return Network(model, found, "avg" if registered.is_clip else pooling, registered.preprocessing)


def resolve_classifying_network(
    model: str, weights: str, *, sha256: str | None = None, on_message: OnMessage = _ignore
) -> Network:
    """Resolves a registered network with its classification top.

    Raises:
        ConfigError: `model` is a file.
        WeightsError: the weights are not found, or have another SHA-256.
    """
    if is_model_file(model):
        raise ConfigError(
            f"{model} is a model file without ImageNet classes: set modelName to a registered name"
        )
    found = find_weights(model, weights, classes=True, sha256=sha256, on_message=on_message)
    return Network(model, found, "classes", get_model(model).preprocessing)


def find_weights(
    model: str, weights: str | None, *, classes: bool, sha256: str | None, on_message: OnMessage = _ignore
) -> Weights:
    """Finds or downloads the weights of a network.

    Raises:
        ConfigError: weights were given for a model file, which contains its own.
        WeightsError: the weights are not found, their SHA-256 is not `sha256`, or an ONNX network keeps them
            in several files.
    """
    if not is_model_file(model):
        found = resolve_weights(weights or "imagenet", model, classes=classes, on_message=on_message)
    elif weights is not None:
        raise ConfigError(f"weights were given for {model}, which contains its own: clear weights")
    else:
        found = model_file(model)
        if is_onnx_file(model):
            require_single_file(found.path)
    if sha256 and found.sha256 != sha256:
        raise WeightsError(
            f"weights {found.path} have SHA-256 {found.sha256}, but the features or the transformer were "
            f"created with {sha256}: give that file, or clear weightsSha256"
        )
    return found


def resolve_spec(
    network: Network,
    resize: Resize,
    *,
    engine: str = "auto",
    precision: str = "auto",
    has_gpu: bool | None = None,
    num_threads: int = 1,
    on_message: OnMessage = _ignore,
) -> FeatureSpec:
    """Resolves how a network runs on this machine, and converts it if its engine requires that.

    Args:
        network: the network.
        resize: how pictures are resized to its input size.
        engine: `tensorflow`, `openvino` or `auto`.
        precision: `float32`, `bfloat16`, `int8` or `auto`.
        has_gpu: whether a worker has a GPU; None to check this machine.
        num_threads: threads of a worker.
        on_message: called with one line when a conversion begins.

    Raises:
        ConfigError: the engine does not support the precision or the model.
        SetupError: the engine is not installed.
        WeightsError: there is no int8 version of the network.
    """
    chosen_engine, chosen_precision = engines.choose(engine, precision, gpu=has_gpu)
    if network.needs_openvino:
        engines.require_openvino(network.name, chosen_engine)
    converted = None
    if chosen_engine == "openvino" and chosen_precision == "int8":
        converted = conversion.quantized(network)
    elif chosen_engine == "openvino":
        converted = conversion.convert(network, network.weights.path, on_message=on_message)
    elif network.registered is None and chosen_precision == "bfloat16":
        if precision != "auto":
            raise ConfigError("precision 'bfloat16' of a model file needs OpenVINO: set engine=openvino")
        chosen_precision = "float32"
    return FeatureSpec(network, resize, chosen_engine, chosen_precision, num_threads, converted)
