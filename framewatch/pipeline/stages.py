"""The stages in order: what each reads and writes, what it can skip, and what it says at its end."""

from dataclasses import replace

from pyspark.sql import DataFrame

from framewatch.config import load_config
from framewatch.io import storage
from framewatch.pipeline.classify import ask, classify
from framewatch.pipeline.explore import explore
from framewatch.pipeline.extract import extract
from framewatch.pipeline.featurize import featurize
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
    "explore",
    "extract",
    "featurize",
    "index",
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
    """Videos in, ranked suspicious frames out: every stage, each skipping what is done.

    Without `labels.train` but with `classifier.path`, nothing is trained: new videos are ranked by a saved
    classifier.
    """
    config = run.config
    learns = trains(config)
    # A bad label file that only Spark reaches is found before hours of decoding, not after.
    for path in filter(None, (config.labels.train, config.labels.test)):
        labels.read_labels(run.spark, path)
    extract(run)
    featurize(run)
    if learns:
        train(run)
    rank(run)


def run(*overrides: str, config_file: str | None = None) -> DataFrame:
    """Runs all stages on files, as `framewatch run` does: videos in, ranked frames out.

    What earlier calls have done is not done again: a call that was stopped continues where it was.

    Args:
        overrides: `key=value` settings, as on the command line.
        config_file: a YAML file with settings.

    Returns:
        The table `predictions`: one row per frame, `rank` 1 the most suspicious, `prob2` its probability of
        being suspicious, `timestamp_s` in seconds from the video's first frame. The other tables are below
        `output`.

    Raises:
        FramewatchError: a setting, a path or a label file is not valid; names it and the remedy.

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
    # A session that is older than the current directory resolves relative paths elsewhere.
    config = replace(config, output=storage.absolute(config.output))
    with start(config, "run") as call:
        run_all(call)
        return call.tables.read("predictions")
