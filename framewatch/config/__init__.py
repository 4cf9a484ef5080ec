"""Typed configuration: defaults in code, a YAML file from conf/, then `key=value` overrides."""

from framewatch.config.load import all_keys, load_config
from framewatch.config.sections import ClassifierConfig, Config, FeaturizerConfig, RankingConfig

__all__ = ["ClassifierConfig", "Config", "FeaturizerConfig", "RankingConfig", "all_keys", "load_config"]
