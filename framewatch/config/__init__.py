"""Typed configuration: defaults in code, then a YAML file, then `key=value` overrides."""

from framewatch.config.inputs import FeaturizerConfig, ImagesConfig
from framewatch.config.load import all_keys, load_config
from framewatch.config.outputs import ClassifierConfig, RankingConfig
from framewatch.config.sections import Config, LockConfig

__all__ = [
    "ClassifierConfig",
    "Config",
    "FeaturizerConfig",
    "ImagesConfig",
    "LockConfig",
    "RankingConfig",
    "all_keys",
    "load_config",
]
