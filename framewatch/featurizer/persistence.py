"""Saving and loading a transformer with its network: the weights by name and SHA-256, or inside."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLWritable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from framewatch.errors import WeightsError
from framewatch.models.registry import is_model_file
from framewatch.models.weights import cache_directory, file_digest

# A row of Parquet should not hold hundreds of megabytes.
_PART_BYTES = 16 * 2**20
_PARTS = "name string, part int, content binary"


class WeightsWritable(MLWritable):
    """Saves the parameters, the SHA-256 of the weights, and on request the weights."""

    def write(self) -> DefaultParamsWriter:
        """The writer; `save(path)` is short for `write().save(path)`."""
        return _Writer(self)  # type: ignore[arg-type]  # mixed into Params


class WeightsReadable(MLReadable[Any]):
    """Loads what `WeightsWritable` saved, in any process."""

    @classmethod
    def read(cls) -> DefaultParamsReader[Any]:
        """The reader; `load(path)` is short for `read().load(path)`."""
        return _Reader(cls)  # type: ignore[arg-type]  # mixed into Params


class _Writer(DefaultParamsWriter):
    def saveImpl(self, path: str) -> None:
        """Writes the parameters, and the weights into `path`/weights if `saveWeights` is set."""
        instance: Any = self.instance
        weights = instance.network().weights
        self.instance = instance.copy().setWeightsSha256(weights.sha256)
        try:
            super().saveImpl(path)
        finally:
            self.instance = instance
        if _inside(instance):
            spark = SparkSession.builder.getOrCreate()
            for number, part in enumerate(_parts(weights.path)):
                row = spark.createDataFrame([(weights.name, number, part)], _PARTS).coalesce(1)
                row.write.mode("append").parquet(_place(path))


class _Reader(DefaultParamsReader[Any]):
    def load(self, path: str) -> Any:
        """Reads the parameters; weights from inside go to the cache of this machine."""
        instance = super().load(path)
        if _inside(instance):
            place = _unpack(_place(path), instance.getWeightsSha256())
            if is_model_file(instance.getModelName()):
                return instance.setModelName(place)
            return instance.setWeights(place)
        return instance


def _inside(instance: Any) -> bool:
    return instance.hasParam("saveWeights") and instance.getSaveWeights()


def _place(path: str) -> str:
    return path.rstrip("/") + "/weights"


def _parts(path: str) -> Iterator[bytearray]:
    with open(path, "rb") as file:
        while part := file.read(_PART_BYTES):
            yield bytearray(part)


def _unpack(place: str, sha256: str) -> str:
    rows = SparkSession.builder.getOrCreate().read.parquet(place).orderBy(F.col("part"))
    name = rows.select("name").first()
    assert name is not None
    target = cache_directory() / "weights" / sha256[:12] / os.path.basename(name["name"])
    if target.is_file() and file_digest(target) == sha256:
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        part = Path(directory) / target.name
        with open(part, "wb") as file:
            for row in rows.toLocalIterator():
                file.write(row["content"])
        if file_digest(part) != sha256:
            raise WeightsError(f"the weights in {place} have another SHA-256 than {sha256}: save anew")
        os.replace(part, target)
    return str(target)
