"""Typed configuration: defaults in code, a YAML file from conf/, then `key=value` overrides."""

from framewatch.config.inputs import FeaturizerConfig
from framewatch.config.load import all_keys, load_config
from framewatch.config.results import ClassifierConfig, RankingConfig
from framewatch.config.sections import Config

__all__ = [
    "ClassifierConfig",
    "Config",
    "FeaturizerConfig",
    "RankingConfig",
    "all_keys",
    "load_config",
]
