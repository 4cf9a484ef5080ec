"""The stages of the pipeline, and `run`, which calls them in order."""

from dataclasses import replace

from pyspark.sql import DataFrame

from framewatch.config import load_config
from framewatch.io import storage
from framewatch.pipeline.classify import ask, classify
from framewatch.pipeline.compact import compact
from framewatch.pipeline.explore import explore
from framewatch.pipeline.extract import extract
from framewatch.pipeline.featurize import featurize
from framewatch.pipeline.ingest import ingest, read_and_featurize
from framewatch.pipeline.preflight import start, trains
from framewatch.pipeline.quantize import quantize
from framewatch.pipeline.rank import rank
from framewatch.pipeline.run import Run
from framewatch.pipeline.search import index, place_of, search, similarity
from framewatch.pipeline.train import train
from framewatch.pipeline.watch import watch
from framewatch.ranking import labels

__all__ = [
    "Run",
    "ask",
    "classify",
    "compact",
    "explore",
    "extract",
    "featurize",
    "index",
    "ingest",
    "place_of",
    "quantize",
    "rank",
    "run",
    "run_all",
    "search",
    "similarity",
    "start",
    "train",
    "watch",
]


def run_all(run: Run) -> None:
    """Runs ingest, train and rank; with `frames.keep=full`, extract, featurize, train and rank.

    Each stage skips finished work.

    Without `labels.train` but with `classifier.path`, it skips the training and ranks with the saved
    classifier.
    """
    config = run.config
    learns = trains(config)
    # Finds errors in label files that only Spark can read before hours of decoding.
    for path in filter(None, (config.labels.train, config.labels.test)):
        labels.read_labels(run.spark, path)
    if config.labels.groups:
        labels.read_groups(run.spark, config.labels.groups)
    read_and_featurize(run)
    if learns:
        train(run)
    rank(run)


def run(*overrides: str, config_file: str | None = None) -> DataFrame:
    """Runs all stages, as `framewatch run` does: reads videos and returns ranked frames.

    Finished work is not repeated: call it again after an interruption, and it resumes.

    Args:
        overrides: `key=value` settings, as on the command line.
        config_file: a YAML file with settings.

    Returns:
        The table `predictions`, one row per frame. `rank` is 1 for the most suspicious frame, `prob2` is the
        probability of being suspicious, and `timestamp_s` counts seconds from the video's first frame. The
        other tables are in `output`.

    Raises:
        FramewatchError: a setting, a path or a label file is not valid; the message has the remedy.

    Example:
        >>> predictions = run(
        ...     "videos.train=videos/train",
        ...     "labels.train=labels.csv",
        ...     "videos.test=videos/test",
        ...     "output=out",
        ... )
        >>> predictions.orderBy("rank").select("rank", "prediction").first()
        Row(rank=1, prediction=1.0)
    """
    config = load_config(config_file, overrides)
    # A session that was started in another directory would resolve relative paths there.
    config = replace(config, output=storage.absolute(config.output))
    with start(config, "run") as call:
        run_all(call)
        return call.tables.read("predictions")
