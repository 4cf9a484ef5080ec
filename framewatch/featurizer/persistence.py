"""Saves and loads transformers: the weights by name and SHA-256, or included in the saved files."""

import os
from collections.abc import Iterator
from typing import Any

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLWritable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from framewatch.errors import WeightsError
from framewatch.io import atomic
from framewatch.models.registry import is_model_file
from framewatch.models.weights import cache_directory
from framewatch.models.weights_file import file_digest

# Weights are split, because a row of Parquet should not have hundreds of megabytes.
_PART_BYTES = 16 * 2**20
_PARTS = "name string, part int, content binary"


class WeightsWritable(MLWritable):
    """Saves the parameters, the SHA-256 of the weights, a declaration, and optionally the weights."""

    def write(self) -> DefaultParamsWriter:
        """Returns the writer; `save(path)` is a shortcut for `write().save(path)`."""
        return _Writer(self)  # type: ignore[arg-type]  # mixed into Params


class WeightsReadable(MLReadable[Any]):
    """Loads a transformer saved with `WeightsWritable`."""

    @classmethod
    def read(cls) -> DefaultParamsReader[Any]:
        """Returns the reader; `load(path)` is a shortcut for `read().load(path)`."""
        return _Reader(cls)  # type: ignore[arg-type]  # mixed into Params


class _Writer(DefaultParamsWriter):
    def saveImpl(self, path: str) -> None:
        """Writes the parameters, and the weights to `path`/weights if `saveWeights` is set."""
        instance: Any = self.instance
        network = instance.network()
        weights = network.weights
        saved = instance.copy().setWeightsSha256(weights.sha256)
        if network.declaration is not None:
            saved.setDeclaration(network.declaration.to_json())
        self.instance = saved
        try:
            super().saveImpl(path)
        finally:
            self.instance = instance
        if _includes_weights(instance):
            spark = SparkSession.builder.getOrCreate()
            for number, part in enumerate(_parts(weights.path)):
                # The file's own name, because its suffix decides how it is read.
                row = spark.createDataFrame([(os.path.basename(weights.path), number, part)], _PARTS)
                row = row.coalesce(1)
                row.write.mode("append").parquet(_weights_directory(path))


class _Reader(DefaultParamsReader[Any]):
    def load(self, path: str) -> Any:
        """Reads the parameters, and copies included weights to the cache of this machine."""
        instance = super().load(path)
        if _includes_weights(instance):
            file = _unpack(_weights_directory(path), instance.getWeightsSha256())
            if is_model_file(instance.getModelName()):
                return instance.setModelName(file)
            return instance.setWeights(file)
        return instance


def _includes_weights(instance: Any) -> bool:
    return instance.hasParam("saveWeights") and instance.getSaveWeights()


def _weights_directory(path: str) -> str:
    return path.rstrip("/") + "/weights"


def _parts(path: str) -> Iterator[bytearray]:
    with open(path, "rb") as file:
        while part := file.read(_PART_BYTES):
            yield bytearray(part)


def _unpack(source: str, sha256: str) -> str:
    rows = SparkSession.builder.getOrCreate().read.parquet(source).orderBy(F.col("part"))
    name = rows.select("name").first()
    assert name is not None
    target = cache_directory() / "weights" / sha256[:12] / os.path.basename(name["name"])
    if target.is_file() and file_digest(target) == sha256:
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(target) as part:
        with open(part, "wb") as file:
            for row in rows.toLocalIterator():
                file.write(row["content"])
        if file_digest(part) != sha256:
            raise WeightsError(
                f"the weights in {source} do not have SHA-256 {sha256}: save the transformer again"
            )
    return str(target)
