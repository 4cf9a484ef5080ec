"""From names to a network with its weights, and to how it is run: for the featurizer and the encoder."""

from collections.abc import Callable

from framewatch.errors import ConfigError, WeightsError
from framewatch.models import conversion, engines
from framewatch.models.registry import Pooling, get_model, is_model_file
from framewatch.models.spec import FeatureSpec, Network, Resize
from framewatch.models.weights import Weights, model_file, resolve_weights

OnMessage = Callable[[str], None]


def _ignore(message: str) -> None:
    pass


def resolve_network(
    model: str,
    weights: str | None,
    *,
    pooling: Pooling,
    layer: str | None = None,
    preprocessing: str | None = None,
    sha256: str | None = None,
    on_message: OnMessage = _ignore,
) -> Network:
    """A network cut where its features come out.

    Args:
        model: a name of the registry, or the path of a whole Keras model.
        weights: of a registered model: a name such as `imagenet`, or a path. None for a model file.
        pooling: how the last feature map becomes a vector; a CLIP has one vector to begin with.
        layer: of a model file, the layer to cut at; None for its output.
        preprocessing: of a model file, a key of `PREPROCESSINGS`.
        sha256: what the weights must have; None for any.
        on_message: called with one line when a download begins.

    Raises:
        ConfigError: settings of a model file for a registered model, or the other way round.
        WeightsError: there are no such weights, or they have another SHA-256.
    """
    found = find_weights(model, weights, classes=False, sha256=sha256, on_message=on_message)
    if is_model_file(model):
        return Network(found.name, found, pooling, preprocessing or "raw", layer)
    if layer or preprocessing:
        raise ConfigError(f"layer and preprocessing are for model files: {model} has its own, clear them")
    registered = get_model(model)
    return Network(model, found, "avg" if registered.is_clip else pooling, registered.preprocessing)


def resolve_classifying_network(
    model: str, weights: str, *, sha256: str | None = None, on_message: OnMessage = _ignore
) -> Network:
    """A registered network with its classifying top.

    Raises:
        ConfigError: `model` is a file.
        WeightsError: there are no such weights, or they have another SHA-256.
    """
    if is_model_file(model):
        raise ConfigError(f"{model} has classes of its own: give modelName a name of the registry")
    found = find_weights(model, weights, classes=True, sha256=sha256, on_message=on_message)
    return Network(model, found, "classes", get_model(model).preprocessing)


def find_weights(
    model: str, weights: str | None, *, classes: bool, sha256: str | None, on_message: OnMessage = _ignore
) -> Weights:
    """The weights of a network, found or downloaded.

    Raises:
        ConfigError: weights were given for a model file, which has its own.
        WeightsError: there are no such weights, or they have another SHA-256 than `sha256`.
    """
    if not is_model_file(model):
        found = resolve_weights(weights or "imagenet", model, classes=classes, on_message=on_message)
    elif weights is not None:
        raise ConfigError(f"weights were given for {model}, which has its own: clear weights")
    else:
        found = model_file(model)
    if sha256 and found.sha256 != sha256:
        raise WeightsError(
            f"weights {found.path} have SHA-256 {found.sha256}, not {sha256}, which these features or this "
            "transformer were made with: give that file, or clear weightsSha256"
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
    """How a network is run on this machine, converted where its engine needs that.

    Args:
        network: the network.
        resize: how pictures are brought to its input size.
        engine: what runs it, or `auto`.
        precision: the numbers it computes with, or `auto`.
        has_gpu: whether a worker has a GPU; None to find out.
        num_threads: of one worker.
        on_message: called with one line when a conversion begins.

    Raises:
        ConfigError, SetupError: engine and precision do not go together, or are not installed.
        WeightsError: there is no int8 version of the network.
    """
    chosen_engine, chosen_precision = engines.choose(engine, precision, gpu=has_gpu)
    if network.is_clip:
        engines.require_openvino(network.name, chosen_engine)
    converted = None
    if chosen_engine == "openvino" and chosen_precision == "int8":
        converted = conversion.quantized(network)
    elif chosen_engine == "openvino":
        converted = conversion.convert(network, network.weights.path, on_message=on_message)
    elif network.registered is None and chosen_precision == "bfloat16":
        if precision != "auto":
            raise ConfigError(
                "precision 'bfloat16' of a model file runs on OpenVINO only: set engine=openvino"
            )
        chosen_precision = "float32"
    return FeatureSpec(network, resize, chosen_engine, chosen_precision, num_threads, converted)
