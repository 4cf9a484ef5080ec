"""Loads the configuration: defaults, a YAML file, then `key=value` overrides, each key checked."""

import dataclasses
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framewatch.config.sections import Config
from framewatch.errors import ConfigError
from framewatch.io import storage

# Sections with arbitrary keys of other software, which may contain dots.
_FREE = ("spark.conf", "watch.options")
_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "text",
    list: "a list",
    dict: "key: value pairs",
}


def all_keys() -> list[str]:
    """Returns all configuration keys, dotted, in the order of the sections."""
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
        overrides: `key=value` texts with values in YAML; the last one wins.

    Raises:
        ConfigError: the file does not exist, a key is unknown (the message suggests the nearest one), or a
            value is not valid.
    """
    config = _editable(OmegaConf.structured(Config))
    layers = [_read_yaml(Path(file))] if file is not None else []
    layers += [_parse_override(text) for text in overrides]
    for layer in layers:
        checked = dict(_checked_items(layer))
        for key, value in checked.items():
            try:
                OmegaConf.update(config, key, value)
            except OmegaConfBaseException:  # its text would show a value that may be secret, without its key
                raise ConfigError(_type_message(key, value)) from None
    try:
        resolved = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:  # a broken interpolation, or a section's own check
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
    if re.search("[\udc80-\udcff]", raw):
        return {key.strip(): _path_in_bytes(key, raw)}
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:  # a glob such as *.mpg is not YAML and is used literally
        value = raw
    return {key.strip(): value}


def _path_in_bytes(key: str, raw: str) -> str:
    if key.startswith("videos."):
        return storage.local_uri(os.path.abspath(raw))
    shown = raw.encode("ascii", "backslashreplace").decode()
    raise ConfigError(f"{key}={shown} is not UTF-8: only videos may have such names; rename it")


def _checked_items(layer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields a layer's leaves as (dotted key, value).

    Raises:
        ConfigError: a key is unknown, or names a section.
    """
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
        elif (free := next((name for name in _FREE if key.startswith(f"{name}.")), None)) is not None:
            yield f"{free}[{key.removeprefix(f'{free}.')}]", value
        else:
            raise ConfigError(_unknown_message(key, leaves))


def _unknown_message(key: str, leaves: list[str]) -> str:
    by_name = {leaf.rsplit(".", 1)[-1]: leaf for leaf in leaves}
    near = difflib.get_close_matches(key, leaves, n=1, cutoff=0.6)
    near = near or [by_name[n] for n in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(by_name), n=1)]
    hint = f"did you mean {near[0]}?" if near else "docs/reference/configuration.md lists the keys"
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
