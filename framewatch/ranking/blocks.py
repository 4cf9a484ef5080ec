"""Blocks of features: stills, and what changes and moves in the burst of each, side by side in one vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.ranking.block_notes import STILLS as STILLS
from framewatch.tables.feature_vectors import vectors
from framewatch.tables.schema import FEATURES, fields, require_columns

# The column of each block in the table `features`.
COLUMNS = {"still": "features", "change": "change", "motion": "motion"}


@dataclass(frozen=True)
class Blocks:
    """The blocks of a classifier.

    Attributes:
        fill: by the name of each block, in order, its mean over the labelled frames, (length,) float32. It
            replaces a block that a frame lacks: the last frame of a video may have no picture after it.
    """

    fill: Mapping[str, np.ndarray]

    @staticmethod
    def of_rows(rows: pa.Table, names: Sequence[str]) -> "Blocks":
        """Returns these blocks of labelled frames with features, without those that no frame has."""
        fill = {}
        for name in names:
            values, _ = vectors(rows[COLUMNS[name]].combine_chunks())
            if len(values):
                fill[name] = values.mean(axis=0)
        return Blocks(fill)

    @property
    def columns(self) -> dict[str, slice]:
        """The columns of each block, side by side."""
        ends = np.cumsum([len(values) for values in self.fill.values()]).tolist()
        return {
            name: slice(end - len(values), end)
            for (name, values), end in zip(self.fill.items(), ends, strict=True)
        }

    def matrix(self, rows: pa.Table) -> np.ndarray:
        """Returns the blocks of rows with features side by side, (rows, numbers) float64."""
        parts = []
        for name, missing in self.fill.items():
            values, valid = vectors(rows[COLUMNS[name]].combine_chunks())
            part = np.tile(missing, (len(rows), 1)).astype(np.float64)
            part[valid] = values
            parts.append(part)
        return np.hstack(parts)

    def side_by_side(self, features: DataFrame) -> DataFrame:
        """Replaces `features` of the table `features` by the blocks side by side; null stays null."""
        require_columns(features, fields(FEATURES, *(COLUMNS[name] for name in self.fill)), table="features")
        schema = ", ".join(f"_{name} array<float>" for name in self.fill)
        missing = features.sparkSession.createDataFrame(
            [tuple(values.tolist() for values in self.fill.values())], schema
        )
        parts = [F.coalesce(COLUMNS[name], f"_{name}") for name in self.fill]
        whole = F.when(F.col("features").isNotNull(), F.concat(*parts))
        rows = features.crossJoin(F.broadcast(missing)).withColumn("features", whole)
        return rows.select(*features.columns).withMetadata("features", features.schema["features"].metadata)
