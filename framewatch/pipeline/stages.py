"""The stages in order: what each reads and writes, what it can skip, and what it says at its end."""

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
