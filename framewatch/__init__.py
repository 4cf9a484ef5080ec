"""framewatch finds the suspicious moments in a mountain of video, on Apache Spark."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and the API reference, which execute nothing
    from framewatch.featurizer.transformer import DeepImageFeaturizer

__version__ = "0.1.0"
__all__ = ["DeepImageFeaturizer", "__version__"]


def __getattr__(name: str) -> object:
    # Workers import framewatch to decode video; they need neither pyspark.ml nor the featurizer.
    if name == "DeepImageFeaturizer":
        from framewatch.featurizer.transformer import DeepImageFeaturizer

        return DeepImageFeaturizer
    raise AttributeError(f"module 'framewatch' has no attribute '{name}'")
