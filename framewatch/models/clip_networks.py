"""CLIP's encoders as OpenVINO networks, out of a checkpoint. No Spark in here."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framewatch.errors import SetupError, WeightsError
from framewatch.models.clip_checkpoints import TEXT_ONNX, TOKENIZER, VISION_ONNX
from framewatch.models.registry import PREPROCESSINGS


@dataclass(frozen=True)
class TextSettings:
    """What turns texts into the text encoder's input.

    Attributes:
        context_length: tokens of a text; longer ones are cut.
        pad_id: fills shorter ones.
        logit_scale: what cosines are multiplied with before a softmax; CLIP learned it.
    """

    context_length: int = 77
    pad_id: int = 49407
    logit_scale: float = 100.0


def image_network(path: str) -> Any:
    """The image encoder as an OpenVINO model, from a checkpoint's large file.

    It takes (n, size, size, 3) uint8 BGR, and gives (n, features) float32 of length 1.

    Raises:
        SetupError: transformers or torch are missing and needed.
        WeightsError: the checkpoint is not one of CLIP.
    """
    import openvino

    if path.endswith(".onnx"):
        network = _only_output(openvino.Core().read_model(path), "image_embeds", path)
    else:
        network = _traced(path, _image_module, "pixels")
    size = _size(network, path)
    network.reshape([-1, 3, size, size])
    return _normalized(_with_preprocessing(network, _mean_and_std(Path(path).parent, size), size))


def text_network(path: str) -> tuple[Any, TextSettings, str]:
    """The text encoder as an OpenVINO model, its settings, and its tokenizer as JSON.

    It takes (n, context_length) int64 tokens, and gives (n, features) float32 of length 1.

    Raises:
        SetupError, WeightsError: as `image_network`.
    """
    import openvino

    directory = Path(path).parent
    if path.endswith(".onnx"):
        text = directory / TEXT_ONNX
        if not text.is_file():
            raise WeightsError(f"there is no {text}: export the text encoder too, beside {VISION_ONNX}")
        network = _only_output(openvino.Core().read_model(text), "text_embeds", path)
        tokenizer = _tokenizer_file(directory)
        settings = TextSettings(_context_length(network, text), _end_of_text(tokenizer))
    else:
        settings, tokenizer = _hugging_face_text(path)
        network = _traced(path, _text_module, "tokens", settings.context_length)
    for it in network.inputs:
        it.get_node().set_partial_shape(openvino.PartialShape([-1, settings.context_length]))
    network.validate_nodes_and_infer_types()
    return _normalized(network), settings, tokenizer


def text_settings_json(settings: TextSettings) -> str:
    """What `TextSettings(**json.loads(...))` reads."""
    return json.dumps(asdict(settings))


def _only_output(network: Any, name: str, path: str) -> Any:
    """The network cut to the output that is in the space of both."""
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


def _mean_and_std(directory: Path, size: int) -> tuple[list[float], list[float]]:
    """Of pixels of 0 to 255, as the checkpoint's image processor has them."""
    found = _json_beside(str(directory / "x"), "preprocessor_config.json")
    crop = _crop(found) or size
    shortest = found.get("size", crop)
    shortest = shortest.get("shortest_edge", crop) if isinstance(shortest, dict) else shortest
    if not crop == shortest == size:
        raise WeightsError(
            f"{directory} scales pictures to {shortest} and crops {crop} for a network of {size} pixels: "
            "only one size for all three is known"
        )
    ours = PREPROCESSINGS["clip"]
    mean = [255 * value for value in found["image_mean"]] if "image_mean" in found else list(ours.mean)
    std = [255 * value for value in found["image_std"]] if "image_std" in found else list(ours.std)
    return mean, std


def _json_beside(path: str, name: str) -> dict[str, Any]:
    for directory in (Path(path).parent, Path(path).parent.parent):  # exporters keep ONNX files one below
        if (directory / name).is_file():
            return json.loads((directory / name).read_text(encoding="utf-8"))
    return {}


def _with_preprocessing(network: Any, scaling: tuple[list[float], list[float]], size: int) -> Any:
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    steps = PrePostProcessor(network)
    tensor = steps.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_shape([-1, size, size, 3]).set_color_format(ColorFormat.BGR)
    preprocess = steps.input().preprocess()
    preprocess.convert_element_type(openvino.Type.f32).convert_color(ColorFormat.RGB)
    preprocess.mean(scaling[0]).scale(scaling[1])
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _normalized(network: Any) -> Any:
    import numpy as np
    import openvino
    import openvino.opset13 as ops

    features = network.output(0).get_node().input_value(0)
    axes = ops.constant(np.array([1], np.int64))
    unit = ops.normalize_l2(features, axes, 1e-12, "max")
    return openvino.Model([unit.output(0)], network.get_parameters(), network.get_friendly_name())


def _tokenizer_file(directory: Path) -> str:
    for place in (directory, directory.parent):
        if (place / TOKENIZER).is_file():
            return (place / TOKENIZER).read_text(encoding="utf-8")
    raise WeightsError(f"there is no {directory / TOKENIZER}: copy the checkpoint's there")


def _end_of_text(tokenizer: str) -> int:
    """What CLIP pads with."""
    added = json.loads(tokenizer).get("added_tokens", [])
    return next((it["id"] for it in added if it["content"] == "<|endoftext|>"), TextSettings.pad_id)


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise SetupError(
            f"to convert a CLIP checkpoint, {error.name} is missing: pip install 'framewatch[clip]', or give "
            f"a directory with {VISION_ONNX}, {TEXT_ONNX} and {TOKENIZER}"
        ) from error
    transformers.logging.set_verbosity_error()
    return transformers


def _clip_model(path: str) -> Any:
    transformers = _transformers()
    # Eager attention is plain matrices, which a tracer follows.
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
            # Without a mask: padding comes after the end, which attention looks back from.
            return self.clip.text_projection(self.clip.text_model(tokens).pooler_output)

    return TextEncoder().eval()
