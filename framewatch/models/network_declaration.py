"""The declaration of an ONNX network: a YAML file beside the network that describes its input and output.

An ONNX file contains neither the scaling of the pixels nor the pooling. `models/siglip.onnx` is declared in
`models/siglip.yaml`.
"""

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from framewatch.errors import ConfigError
from framewatch.models.registry import PREPROCESSINGS, Preprocessing

DeclaredPooling = Literal["avg", "max", "first", "none"]
Order = Literal["RGB", "BGR"]
Layout = Literal["NCHW", "NHWC"]
Triple = tuple[float, float, float]

_KEYS = ("size", "scaling", "mean", "std", "order", "layout", "input", "output", "pooling")
_SIZE_RULE = "give the width and height of the input, a whole number of pixels from 1 to 8192"
_MEAN_RULE = "give three numbers from 0 to 255, in the order of the channels"
_STD_RULE = "give three numbers of 1 or more, for pixels from 0 to 255, in the order of the channels"
_NAME_RULE = "give the name of a tensor, in quotes if it looks like a number"
_MOST_PIXELS = 8192
_MOST_STD = 1e6


@dataclass(frozen=True)
class NetworkDeclaration:
    """What an ONNX network takes, and which of its outputs becomes the features.

    Attributes:
        size: width and height of the input, pixels.
        mean: subtracted from the pixels from 0 to 255, per channel.
        std: divisor of each channel.
        pooling: how the output is reduced to a vector: `avg` or `max` over the positions of a map or over the
            tokens, `first` for the first token, `none` for all values.
        order: order of the channels, of `mean` and of `std`.
        layout: order of the dimensions of the input, and of an output with four dimensions.
        input: name of the input that takes the pictures; None for the only one.
        output: name of the tensor to use as output; None for the only output.
    """

    size: int
    mean: Triple
    std: Triple
    pooling: DeclaredPooling
    order: Order = "RGB"
    layout: Layout = "NCHW"
    input: str | None = None
    output: str | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels are scaled."""
        return Preprocessing(self.order, self.mean, self.std)

    @property
    def is_raw(self) -> bool:
        """Whether pixels are not scaled."""
        return self.preprocessing == Preprocessing(self.order)

    def to_json(self) -> str:
        """Returns the values as JSON, for `declaration_from_json`; equal declarations have equal texts."""
        return json.dumps(asdict(self), sort_keys=True)


def declaration_path(model: str) -> Path:
    """Returns the path of the declaration of an ONNX file: the same name with the suffix `.yaml`."""
    return Path(model).expanduser().with_suffix(".yaml")


def read_declaration(model: str) -> NetworkDeclaration:
    """Reads the declaration beside an ONNX file.

    Raises:
        ConfigError: there is none, a key is unknown or missing, or a value is not valid.
    """
    path = declaration_path(model)
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: an ONNX network needs a YAML file of the same name, with size, scaling "
            "and pooling"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML ({reason}): correct that line") from error
    return parse_declaration(values, str(path))


def declaration_from_json(text: str) -> NetworkDeclaration:
    """Returns a declaration from the text of `NetworkDeclaration.to_json`.

    Raises:
        ConfigError: the text is not valid.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the declaration {text[:100]} is not JSON ({error}): copy it again") from error
    return parse_declaration(values, "the declaration")


def parse_declaration(values: object, source: str) -> NetworkDeclaration:
    """Checks the values of a declaration.

    Args:
        values: the keys of the YAML file with their values; None stands for a key that is not set.
        source: where the values come from, for messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value is not valid.
    """
    if not isinstance(values, Mapping):
        what = "nothing" if values is None else f"a {type(values).__name__}"
        raise ConfigError(f"{source} contains {what}: it must contain `key: value` lines, such as size: 224")
    for key in values:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(_KEYS)}"
            raise ConfigError(f"unknown key '{key}' in {source}: {hint}")
    given = _Given({key: value for key, value in values.items() if value is not None}, source)
    order, mean, std = _scaling(given)
    return NetworkDeclaration(
        size=given.size(),
        mean=mean,
        std=std,
        pooling=cast(DeclaredPooling, given.choice("pooling", get_args(DeclaredPooling))),
        order=order,
        layout=cast(Layout, given.choice("layout", get_args(Layout), default="NCHW")),
        input=given.name("input"),
        output=given.name("output"),
    )


@dataclass(frozen=True)
class _Given:
    """The values of a declaration before they are checked."""

    values: Mapping[str, Any]
    source: str

    def require(self, valid: bool, key: str, rule: str) -> None:
        if key not in self.values:
            raise ConfigError(f"{self.source} has no {key}: {rule}")
        if not valid:
            raise ConfigError(f"{key}={self.values[key]} in {self.source} is not valid: {rule}")

    def size(self) -> int:
        size = self.values.get("size")
        self.require(type(size) is int and 1 <= size <= _MOST_PIXELS, "size", _SIZE_RULE)
        return cast(int, size)

    def choice(self, key: str, choices: Collection[str], default: str | None = None) -> str:
        value = self.values.get(key, default)
        if key in self.values or default is None:
            self.require(value in tuple(choices), key, f"choose one of {', '.join(choices)}")
        return str(value)

    def name(self, key: str) -> str | None:
        name = self.values.get(key)
        if name is not None:
            self.require(isinstance(name, str) and bool(name.strip()), key, _NAME_RULE)
        return name

    def triple(self, key: str, least: float, most: float, rule: str) -> Triple:
        value: Any = self.values.get(key)
        valid = isinstance(value, list | tuple) and len(value) == 3
        valid = valid and all(type(number) in (int, float) and least <= number <= most for number in value)
        self.require(valid, key, rule)
        first, second, third = map(float, value)
        return first, second, third


def _scaling(given: _Given) -> tuple[Order, Triple, Triple]:
    """Returns the order of the channels, and the mean and the standard deviation of each."""
    numbers = [key for key in ("mean", "std") if key in given.values]
    if ("scaling" in given.values) == bool(numbers):
        raise ConfigError(
            f"{given.source} must have either scaling ({', '.join(PREPROCESSINGS)}), or mean and std"
        )
    if numbers:
        order = cast(Order, given.choice("order", get_args(Order), default="RGB"))
        mean = given.triple("mean", 0, 255, _MEAN_RULE)
        return order, mean, given.triple("std", 1, _MOST_STD, _STD_RULE)
    found = PREPROCESSINGS[given.choice("scaling", PREPROCESSINGS)]
    order = cast(Order, given.choice("order", get_args(Order), default=found.order))
    if order == found.order:
        return order, found.mean, found.std
    # Each colour keeps its mean and std in the other order of the channels.
    return order, found.mean[::-1], found.std[::-1]
