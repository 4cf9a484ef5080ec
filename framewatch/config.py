"""Typed configuration: defaults here, a YAML file from conf/, then `key=value` overrides.

Each class is one section. The classes check themselves, so a `Config` that exists is valid.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framewatch.errors import ConfigError

_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "text",
    list: "a list",
    dict: "key: value pairs",
}


def _require(valid: bool, key: str, value: object, rule: str) -> None:
    if not valid:
        raise ConfigError(f"{key}={value} is not valid: {rule}")


def _require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    _require(value in choices, key, value, f"choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class VideosConfig:
    """Where the videos are: files, directories (searched below), or globs; one or a list."""

    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    root: str | None = None


@dataclass(frozen=True)
class LabelsConfig:
    """CSV files of hand labels."""

    train: str | None = None
    test: str | None = None


@dataclass(frozen=True)
class SamplingConfig:
    """Which frames to take: `fps` a second."""

    fps: float = 1.0

    def __post_init__(self) -> None:
        _require(
            0 < self.fps <= 240, "sampling.fps", self.fps, "give frames per second, above 0 and up to 240"
        )


@dataclass(frozen=True)
class FramesConfig:
    """How a frame is kept."""

    jpeg_quality: int = 95
    write_images: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.jpeg_quality <= 100, "frames.jpeg_quality", self.jpeg_quality, "give 1 to 100")


@dataclass(frozen=True)
class ExtractConfig:
    """How a run goes through its videos."""

    mode: str = "resume"
    videos_per_batch: int = 64
    max_failed_share: float = 0.1

    def __post_init__(self) -> None:
        _require_choice("extract.mode", self.mode, ("resume", "overwrite"))
        _require(
            self.videos_per_batch >= 1, "extract.videos_per_batch", self.videos_per_batch, "give 1 or more"
        )
        _require(
            0 <= self.max_failed_share <= 1,
            "extract.max_failed_share",
            self.max_failed_share,
            "give a share, 0 to 1",
        )


@dataclass(frozen=True)
class FeaturizerConfig:
    """The model that turns frames into features."""

    model: str = "InceptionV3"
    weights: str = "imagenet"
    pooling: str = "avg"
    batch_size: int = 32
    frames_per_task: int = 64
    mode: str = "resume"

    def __post_init__(self) -> None:
        _require_choice("featurizer.pooling", self.pooling, ("avg", "max", "none"))
        _require_choice("featurizer.mode", self.mode, ("resume", "overwrite"))
        _require(self.batch_size >= 1, "featurizer.batch_size", self.batch_size, "give 1 or more")
        _require(
            self.frames_per_task >= 1, "featurizer.frames_per_task", self.frames_per_task, "give 1 or more"
        )


@dataclass(frozen=True)
class ClassifierConfig:
    """Spark's LogisticRegression; the defaults are those of the 2018 notebooks."""

    max_iter: int = 20
    reg_param: float = 0.05
    elastic_net_param: float = 0.3
    standardization: bool = True
    class_weights: str = "none"
    path: str | None = None

    def __post_init__(self) -> None:
        _require(self.max_iter >= 1, "classifier.max_iter", self.max_iter, "give 1 or more")
        _require(self.reg_param >= 0, "classifier.reg_param", self.reg_param, "give 0 or more")
        _require(
            0 <= self.elastic_net_param <= 1,
            "classifier.elastic_net_param",
            self.elastic_net_param,
            "give 0 to 1",
        )
        _require_choice("classifier.class_weights", self.class_weights, ("none", "balanced"))


@dataclass(frozen=True)
class EvaluationConfig:
    """Leave-whole-videos-out evaluation of the classifier."""

    folds: int = 5
    precision_at: list[int] = field(default_factory=lambda: [3, 10, 20])

    def __post_init__(self) -> None:
        _require(
            self.folds == 0 or self.folds >= 2,
            "evaluation.folds",
            self.folds,
            "give 2 or more, or 0 for none",
        )
        _require(
            all(k >= 1 for k in self.precision_at),
            "evaluation.precision_at",
            self.precision_at,
            "give numbers from 1",
        )


@dataclass(frozen=True)
class RankingConfig:
    """When a frame counts as suspicious: `prob2` above `threshold`."""

    threshold: float = 0.5
    show: int = 10

    def __post_init__(self) -> None:
        _require(0 <= self.threshold <= 1, "ranking.threshold", self.threshold, "give a probability, 0 to 1")
        _require(self.show >= 0, "ranking.show", self.show, "give 0 or more")


@dataclass(frozen=True)
class CatalogConfig:
    """SQL tables: a database in an embedded metastore, or a named catalog such as Unity Catalog's."""

    enabled: bool = True
    name: str | None = None
    database: str = "framewatch"


@dataclass(frozen=True)
class SparkConfig:
    """The Spark session; spark-submit's own settings come first."""

    master: str | None = None
    app_name: str = "framewatch"
    conf: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """All that a run needs to know."""

    videos: VideosConfig = field(default_factory=VideosConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    output: str = "out/framewatch"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    featurizer: FeaturizerConfig = field(default_factory=FeaturizerConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dicts and lists, as the manifest keeps them."""
        return dataclasses.asdict(self)

    def sha256(self) -> str:
        """Hash of the resolved configuration: equal configurations have equal hashes."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def all_keys() -> list[str]:
    """Every key one may set, dotted, in the order of the classes."""
    return list(_leaf_keys(Config()))


def _leaf_keys(section: Any, prefix: str = "") -> Iterator[str]:
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from _leaf_keys(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


def load_config(file: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Reads `file`, applies `overrides`, and checks the result.

    Args:
        file: a YAML file with any of the keys of `Config`, or None for the defaults.
        overrides: `key=value`, values in YAML; the last one wins.

    Raises:
        ConfigError: no such file, an unknown key (names the nearest valid one), a wrong type or value.
    """
    config = _editable(OmegaConf.structured(Config))
    layers = [_read_yaml(Path(file))] if file is not None else []
    layers += [_parse_override(text) for text in overrides]
    for layer in layers:
        known = dict(_checked_items(layer))
        for key, value in known.items():
            try:
                OmegaConf.update(config, key, value)
            except OmegaConfBaseException as error:
                raise ConfigError(_type_message(key, value)) from error
    try:
        resolved = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, or a check of ours inside
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(resolved, Config)
    return resolved


def _editable(config: DictConfig) -> DictConfig:
    # OmegaConf makes the nodes of frozen dataclasses read-only.
    OmegaConf.set_readonly(config, False)
    for value in config.values():
        if isinstance(value, DictConfig):
            _editable(value)
            for inner in value.values():
                if isinstance(inner, ListConfig | DictConfig):
                    OmegaConf.set_readonly(inner, False)
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"--config {path} does not exist: give a YAML file, such as conf/local.yaml")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--config {path} is not valid YAML ({reason}): mend that line") from error
    if not isinstance(loaded or {}, dict):
        raise ConfigError(f"--config {path} holds a {type(loaded).__name__}: it must hold `key: value` lines")
    return loaded or {}


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is not an override: write key=value, such as sampling.fps=2")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:  # a glob such as *.mpg is no YAML, and means itself
        value = raw
    return {key.strip(): value}


def _checked_items(layer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The layer's leaves as (dotted key, value), each key known."""
    leaves = all_keys()
    sections = {leaf.rsplit(".", 1)[0] for leaf in leaves if "." in leaf}
    for name, value in layer.items():
        key = f"{prefix}{name}"
        if key in sections and isinstance(value, dict):
            yield from _checked_items(value, f"{key}.")
        elif key in sections:
            raise ConfigError(f"{key}={value} is a section, not a value: set one of its keys, {key}.…")
        elif key in leaves:
            as_list = key.startswith("videos.") and key != "videos.root" and isinstance(value, str)
            yield key, [value] if as_list else value
        elif key.startswith("spark.conf."):
            yield f"spark.conf[{key.removeprefix('spark.conf.')}]", value
        else:
            raise ConfigError(_unknown_message(key, leaves))


def _unknown_message(key: str, leaves: list[str]) -> str:
    by_name = {leaf.rsplit(".", 1)[-1]: leaf for leaf in leaves}
    near = difflib.get_close_matches(key, leaves, n=1, cutoff=0.6)
    near = near or [by_name[n] for n in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(by_name), n=1)]
    hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists the keys"
    return f"unknown configuration key '{key}': {hint}"


def _type_message(key: str, value: object) -> str:
    default: Any = Config()
    for name in key.split("[")[0].split("."):
        default = getattr(default, name)
    wanted = _TYPE_NAMES[type(default)]
    example = default if default not in (None, [], {}) else None
    remedy = (
        f", such as {key}={str(example).lower() if isinstance(example, bool) else example}" if example else ""
    )
    return f"{key}={value} has the wrong type: it must be {wanted}{remedy}"
