"""Converts the encoders of a CLIP checkpoint to OpenVINO networks. Does not import Spark."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framewatch.errors import SetupError, WeightsError
from framewatch.models.clip_checkpoints import TEXT_ONNX, TOKENIZER, VISION_ONNX
from framewatch.models.openvino_networks import with_preprocessing
from framewatch.models.registry import PREPROCESSINGS, Preprocessing


@dataclass(frozen=True)
class TextSettings:
    """Settings of the text encoder.

    Attributes:
        context_length: number of tokens; longer texts are truncated.
        pad_id: id of the padding token.
        logit_scale: learned factor of cosine similarities before a softmax.
    """

    context_length: int = 77
    pad_id: int = 49407
    logit_scale: float = 100.0


def image_network(path: str) -> Any:
    """Returns the image encoder as an OpenVINO model, from the large file of a checkpoint.

    The model maps (n, size, size, 3) uint8 BGR to (n, features) float32 unit vectors.

    Raises:
        SetupError: the checkpoint needs transformers and torch, and one is missing.
        WeightsError: the checkpoint is not a CLIP checkpoint.
    """
    import openvino

    if path.endswith(".onnx"):
        network = _only_output(openvino.Core().read_model(path), "image_embeds", path)
    else:
        network = _traced(path, _image_module, "pixels")
    size = _size(network, path)
    network.reshape([-1, 3, size, size])
    return _normalized(with_preprocessing(network, _preprocessing(Path(path).parent, size), size))


def text_network(path: str) -> tuple[Any, TextSettings, str]:
    """Returns the text encoder as an OpenVINO model, its settings, and its tokenizer as JSON.

    The model maps (n, context_length) int64 tokens to (n, features) float32 unit vectors.

    Raises:
        SetupError: as for `image_network`.
        WeightsError: as for `image_network`.
    """
    import openvino

    directory = Path(path).parent
    if path.endswith(".onnx"):
        text = directory / TEXT_ONNX
        if not text.is_file():
            raise WeightsError(f"{text} does not exist: export the text encoder too, next to {VISION_ONNX}")
        network = _only_output(openvino.Core().read_model(text), "text_embeds", path)
        tokenizer = _tokenizer_file(directory)
        settings = TextSettings(_context_length(network, text), _end_of_text(tokenizer))
    else:
        settings, tokenizer = _hugging_face_text(path)
        network = _traced(path, _text_module, "tokens", settings.context_length)
    for network_input in network.inputs:
        network_input.get_node().set_partial_shape(openvino.PartialShape([-1, settings.context_length]))
    network.validate_nodes_and_infer_types()
    return _normalized(network), settings, tokenizer


def text_settings_json(settings: TextSettings) -> str:
    """Returns settings as JSON, for `TextSettings(**json.loads(...))`."""
    return json.dumps(asdict(settings))


def _only_output(network: Any, name: str, path: str) -> Any:
    """Returns the network with a single output, the embedding in the shared space."""
    import openvino

    for output in network.outputs:
        if name in output.get_names():
            return openvino.Model([output.get_node().input_value(0)], network.get_parameters(), name)
    names = ", ".join(sorted(name for output in network.outputs for name in output.get_names()))
    raise WeightsError(f"{path} has the outputs {names}, not {name}: export CLIP with its projections")


def _size(network: Any, path: str) -> int:
    shape = network.input(0).partial_shape
    if shape.rank.get_length() == 4 and shape[2].is_static:
        return shape[2].get_length()
    config = _json_beside(path, "config.json").get("vision_config", {})
    size = config.get("image_size") or _crop(_json_beside(path, "preprocessor_config.json"))
    return int(size or 224)


def _context_length(network: Any, path: Path) -> int:
    shape = network.input(0).partial_shape
    if shape[1].is_static:
        return shape[1].get_length()
    config = _json_beside(str(path), "config.json").get("text_config", {})
    return int(config.get("max_position_embeddings") or TextSettings.context_length)


def _crop(found: dict[str, Any]) -> int | None:
    crop = found.get("crop_size")
    return crop.get("height") if isinstance(crop, dict) else crop


def _preprocessing(directory: Path, size: int) -> Preprocessing:
    """Returns how the checkpoint's image processor scales pixels."""
    found = _json_beside(str(directory / "x"), "preprocessor_config.json")
    crop = _crop(found) or size
    shortest = found.get("size", crop)
    shortest = shortest.get("shortest_edge", crop) if isinstance(shortest, dict) else shortest
    if not crop == shortest == size:
        raise WeightsError(
            f"{directory} scales pictures to {shortest} and crops to {crop} for a network of {size} pixels: "
            "use a checkpoint in which all three sizes are equal"
        )
    default = PREPROCESSINGS["clip"]
    mean, std = default.mean, default.std
    if "image_mean" in found:
        mean = _of_255(found["image_mean"])
    if "image_std" in found:
        std = _of_255(found["image_std"])
    return Preprocessing("RGB", mean, std)


def _of_255(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (255 * value for value in values)
    return red, green, blue


def _json_beside(path: str, name: str) -> dict[str, Any]:
    for directory in (
        Path(path).parent,
        Path(path).parent.parent,
    ):  # exporters put ONNX files in a subdirectory
        if (directory / name).is_file():
            return json.loads((directory / name).read_text(encoding="utf-8"))
    return {}


def _normalized(network: Any) -> Any:
    import numpy as np
    import openvino
    import openvino.opset13 as ops

    features = network.output(0).get_node().input_value(0)
    axes = ops.constant(np.array([1], np.int64))
    unit = ops.normalize_l2(features, axes, 1e-12, "max")
    return openvino.Model([unit.output(0)], network.get_parameters(), network.get_friendly_name())


def _tokenizer_file(directory: Path) -> str:
    for candidate in (directory, directory.parent):
        if (candidate / TOKENIZER).is_file():
            return (candidate / TOKENIZER).read_text(encoding="utf-8")
    raise WeightsError(f"{directory / TOKENIZER} does not exist: copy it from the checkpoint")


def _end_of_text(tokenizer: str) -> int:
    """Returns the id of the end-of-text token, with which CLIP pads."""
    added = json.loads(tokenizer).get("added_tokens", [])
    return next((token["id"] for token in added if token["content"] == "<|endoftext|>"), TextSettings.pad_id)


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise SetupError(
            f"converting a CLIP checkpoint needs {error.name}: pip install 'framewatch[clip]', or give "
            f"a directory with {VISION_ONNX}, {TEXT_ONNX} and {TOKENIZER}"
        ) from error
    transformers.logging.set_verbosity_error()
    return transformers


def _clip_model(path: str) -> Any:
    transformers = _transformers()
    # Eager attention consists of plain matrix operations, which can be traced.
    return (
        transformers.CLIPModel.from_pretrained(Path(path).parent, attn_implementation="eager").float().eval()
    )


def _hugging_face_text(path: str) -> tuple[TextSettings, str]:
    directory = Path(path).parent
    model = _clip_model(path)
    tokenizer = _transformers().AutoTokenizer.from_pretrained(directory)
    config = model.config.text_config
    settings = TextSettings(
        context_length=config.max_position_embeddings,
        pad_id=tokenizer.pad_token_id,
        logit_scale=float(model.logit_scale.exp()),
    )
    return settings, tokenizer.backend_tokenizer.to_str()


def _traced(path: str, make_module: Callable[[Any], Any], name: str, length: int = 0) -> Any:
    import openvino

    model = _clip_model(path)
    import torch

    size = model.config.vision_config.image_size
    example = torch.ones((2, length), dtype=torch.int64) if length else torch.zeros((2, 3, size, size))
    with torch.no_grad():
        network = openvino.convert_model(make_module(model), example_input=example)
    network.input(0).get_node().set_friendly_name(name)
    return network


def _image_module(model: Any) -> Any:
    import torch

    class ImageEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = model

        def forward(self, pixels: Any) -> Any:
            return self.clip.visual_projection(self.clip.vision_model(pixels).pooler_output)

    return ImageEncoder().eval()


def _text_module(model: Any) -> Any:
    import torch

    class TextEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = model

        def forward(self, tokens: Any) -> Any:
            # No mask is needed: attention is causal, and padding comes after the end-of-text token.
            return self.clip.text_projection(self.clip.text_model(tokens).pooler_output)

    return TextEncoder().eval()
