"""Checks inputs before Spark starts, as far as Python can, because Spark is slow to start."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from pyspark.sql import SparkSession

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.ingest.patterns import check_local
from framewatch.io import storage
from framewatch.io.terminal import print_line
from framewatch.models import conversion, engines
from framewatch.models.identity import require_same_features
from framewatch.models.spec import FeatureSpec, resize_for
from framewatch.pipeline import opening
from framewatch.pipeline.classify import check_request
from framewatch.pipeline.feature_blocks import require_bursts, wanted_blocks
from framewatch.pipeline.featurize import make_featurizer
from framewatch.pipeline.ingest import require_one_pass, require_resuming
from framewatch.pipeline.run import Run
from framewatch.pipeline.train import require_labels
from framewatch.pipeline.video_batches import (
    pictures_to_keep,
    require_full_pictures,
    require_same_sampling,
    sampling_of,
    video_patterns,
)
from framewatch.pipeline.watch import require_ready
from framewatch.prompts.request import Request
from framewatch.ranking import labels
from framewatch.ranking.threshold import choose_threshold
from framewatch.tables import layout, saved_model
from framewatch.tables.layout import Format
from framewatch.tables.metadata import read_metadata, require_stored_precision

_SUBMITTED = ("PYSPARK_GATEWAY_PORT", "DATABRICKS_RUNTIME_VERSION")
# With these, Spark's default file system may differ from the local one.
_HADOOP_SETTINGS = ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_CONF_DIR")


@contextlib.contextmanager
def start(
    config: Config, stage: str, *, debug: bool = False, request: Request | None = None
) -> Iterator[Run]:
    """Checks the inputs of one call of `stage`, then opens a session for it.

    Writes the call's manifest at the end, even after an error.

    Args:
        config: the configuration.
        stage: a verb, or `watch`.
        debug: whether to show Spark's log.
        request: the classes that `classify` and `ask` look for.

    Raises:
        FramewatchError: an input is not valid; the error is the one that the stage itself would raise.
    """
    layout.require_format(config.output, cast(Format, config.tables.format))
    for check in _CHECKS[stage]:
        check(config)
    if request is not None:
        check_request(config, request, sees_all=_sees_all(config))
    with opening.opened(config, stage, debug=debug) as run:
        yield run


def trains(config: Config) -> bool:
    """Returns whether `run` trains a classifier; False if it uses a saved one.

    Raises:
        InputError: neither training labels nor a saved classifier is configured.
    """
    if config.labels.train:
        if not config.videos.train:
            raise InputError(
                "videos.train is not set: give a file, a directory or a glob, videos.train='a/*.mp4'"
            )
        return True
    if config.classifier.path:
        return False
    raise InputError(
        "labels.train is not set: give a CSV file of hand labels, labels.train=labels.csv, or rank by a "
        "saved classifier, classifier.path=out/older/model"
    )


def _sees_all(config: Config) -> bool:
    """Returns whether Spark sees the same paths as this process: it runs locally, on local files."""
    spark = config.spark
    where = spark.remote or spark.master or os.environ.get("MASTER") or "local"
    elsewhere = any(name in os.environ for name in (*_SUBMITTED, *_HADOOP_SETTINGS))
    elsewhere |= any(key.endswith("fs.defaultFS") for key in spark.conf)
    return where.startswith("local") and not elsewhere and SparkSession.getActiveSession() is None


def _table(name: str) -> Callable[[Config], None]:
    def check(config: Config) -> None:
        layout.require_table(config.output, name, cast(Format, config.tables.format))

    return check


def _training_labels(config: Config) -> None:
    require_labels(config)
    _labels(config, config.labels.train)


def _test_labels(config: Config) -> None:
    _labels(config, config.labels.test)


def _groups(config: Config) -> None:
    _labels(config, config.labels.groups, "groups")


def _labels(config: Config, path: str | None, kind: labels.Kind = "labels") -> None:
    if path:
        labels.check_labels(path, sees_all=_sees_all(config), kind=kind)


def _training_or_classifier(config: Config) -> None:
    if trains(config):
        _training_labels(config)
    else:
        saved_model.require_model(config.model_path)


def _videos(config: Config) -> None:
    _local_videos(config, video_patterns(config))


def _made_with(config: Config) -> dict[str, Any] | None:
    """Returns the metadata of the existing frames; None without any, or if this call deletes them."""
    is_kept = config.extract.mode != "overwrite" and _is_there(config, "frames")
    return read_metadata(config.output, "frames") if is_kept else None


def _sampling(config: Config, keep: str | None = None) -> None:
    made_with = _made_with(config)
    if made_with is not None:
        kept = keep or pictures_to_keep(config, made_with)
        require_same_sampling(config, made_with, sampling_of(config, kept))


def _sampled(config: Config) -> dict[str, Any]:
    """Returns the metadata of the existing frames, or of those that this call makes."""
    made_with = _made_with(config)
    if made_with is None:
        return sampling_of(config, pictures_to_keep(config, None)).metadata()
    return made_with


def _bursts_of_training(config: Config) -> None:
    if _knows_frames(config):
        wanted_blocks(config, _sampled(config))


def _bursts_of_classifier(config: Config) -> None:
    if _knows_frames(config):
        notes = saved_model.require_model(config.model_path).notes
        require_bursts(notes, _sampled(config), config.output)


def _bursts_of_run(config: Config) -> None:
    (_bursts_of_training if trains(config) else _bursts_of_classifier)(config)


def _sampling_of_extract(config: Config) -> None:
    _sampling(config, "full")


def _one_pass(config: Config) -> None:
    if _knows_frames(config):
        require_one_pass(config, pictures_to_keep(config, _made_with(config)))


def _full_pictures(stage: str) -> Callable[[Config], None]:
    def check(config: Config) -> None:
        if _is_there(config, "frames"):
            require_full_pictures(config.output, read_metadata(config.output, "frames"), stage)

    return check


def _knows_frames(config: Config) -> bool:
    """Returns whether `_made_with` is certain; it reads no Delta tables."""
    return config.tables.format == "parquet"


def _test_videos(config: Config) -> None:
    _local_videos(config, config.videos.test)


def _local_videos(config: Config, patterns: Sequence[str]) -> None:
    if _sees_all(config):
        for pattern in patterns:
            if storage.local_path(pattern) is not None:
                check_local(pattern)


def _weights(config: Config) -> None:
    make_featurizer(config.featurizer, config.images).network(on_message=print_line)


def _network(config: Config) -> None:
    """Checks the network, its engine, and that existing features that are kept were made by it."""
    settings = config.featurizer
    engine, precision = engines.choose(settings.engine, settings.precision)
    network = make_featurizer(settings, config.images).network(on_message=print_line)
    if network.needs_openvino:
        engines.require_openvino(network.name, engine)
    if precision == "int8":
        conversion.quantized(network)
    features = _features(config)
    if features and settings.mode != "overwrite":
        spec = FeatureSpec(network, resize_for(network, settings.scale_hint), engine, precision)
        require_same_features(
            features,
            spec.identity(),
            f"the features in {config.output}",
            "this run",
            f"set another output, or {_overwriting(config)} to make all anew",
        )
        require_stored_precision(features, config.features.precision, config.output)


def _overwriting(config: Config) -> str:
    """Returns the setting that makes all features again."""
    is_full = pictures_to_keep(config, _made_with(config)) == "full"
    return "featurizer.mode=overwrite" if is_full else "extract.mode=overwrite"


def _network_of_run(config: Config) -> None:
    if _knows_frames(config) and pictures_to_keep(config, _made_with(config)) != "full":
        require_resuming(config)
    overwrites = config.extract.mode == "overwrite"  # overwriting the videos deletes all features
    settings = replace(config.featurizer, mode="overwrite") if overwrites else config.featurizer
    _network(replace(config, featurizer=settings))


def _features(config: Config) -> dict[str, Any] | None:
    """Returns what made the features; None without any, or if Python cannot read them without a package."""
    if not _is_there(config, "features") or not _is_there(config, "videos"):  # a killed run committed nothing
        return None
    return read_metadata(config.output, "features")


def _is_there(config: Config, table: str) -> bool:
    """Returns whether a table exists in Parquet; Python reads Delta only with another package."""
    return config.tables.format == "parquet" and layout.table_exists(config.output, table, "parquet")


def _classifier(config: Config) -> None:
    path = config.model_path
    notes = saved_model.require_model(path).notes
    features = _features(config)
    if features:
        require_same_features(
            features,
            notes["features"],
            f"the features in {config.output}",
            f"the classifier in {path}",
            "train anew, or featurize with the classifier's model and weights",
        )
    choose_threshold(config.ranking, notes["cross_validation"], lambda: 0.0)


_CHECKS: dict[str, tuple[Callable[[Config], object], ...]] = {
    "extract": (_sampling_of_extract, _videos),
    "ingest": (_one_pass, _sampling, _videos, _network_of_run),
    "featurize": (_table("frames"), _full_pictures("featurize"), _network),
    "quantize": (
        _table("frames"),
        _full_pictures("quantize"),
        lambda _: conversion.require_nncf(),
        _weights,
    ),
    "train": (_table("features"), _training_labels, _groups, _bursts_of_training),
    "rank": (_table("features"), _classifier, _bursts_of_classifier, _test_videos, _test_labels, _groups),
    "run": (
        _training_or_classifier,
        _sampling,
        _bursts_of_run,
        _videos,
        _test_labels,
        _groups,
        _network_of_run,
    ),
    "watch": (require_ready, _sampling, _bursts_of_classifier, _network_of_run),
    "classify": (_table("features"),),
    "ask": (_table("features"),),
    "explore": (_table("features"),),
    "compact": (_table("videos"),),
}
