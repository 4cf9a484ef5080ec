"""framewatch finds the suspicious moments in a mountain of video, on Apache Spark.

Each function takes and returns DataFrames: read frames, turn them into features, join labels, train a
classifier, rank the rest, and find incidents. `run` does all of it on files, with resume.
"""

import importlib
from typing import TYPE_CHECKING

from framewatch.errors import (
    ConfigError,
    FramewatchError,
    InputError,
    PictureError,
    SchemaError,
    SetupError,
    VideoError,
    WeightsError,
)

if TYPE_CHECKING:
    from framewatch.featurizer.transformer import DeepImageFeaturizer
    from framewatch.ingest.frames import read_frames
    from framewatch.pipeline.stages import run
    from framewatch.ranking.classifier import train
    from framewatch.ranking.evaluation import evaluate
    from framewatch.ranking.incidents import find_incidents
    from framewatch.ranking.labels import join_labels
    from framewatch.ranking.scores import rank, score

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "DeepImageFeaturizer",
    "FramewatchError",
    "InputError",
    "PictureError",
    "SchemaError",
    "SetupError",
    "VideoError",
    "WeightsError",
    "__version__",
    "evaluate",
    "find_incidents",
    "join_labels",
    "rank",
    "read_frames",
    "run",
    "score",
    "train",
]

# Imported when they are used: a worker that decodes video needs neither pyspark.ml nor a network.
_MODULES = {
    "DeepImageFeaturizer": "framewatch.featurizer.transformer",
    "evaluate": "framewatch.ranking.evaluation",
    "find_incidents": "framewatch.ranking.incidents",
    "join_labels": "framewatch.ranking.labels",
    "rank": "framewatch.ranking.scores",
    "read_frames": "framewatch.ingest.frames",
    "run": "framewatch.pipeline.stages",
    "score": "framewatch.ranking.scores",
    "train": "framewatch.ranking.classifier",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'framewatch' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
