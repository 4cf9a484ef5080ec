"""The files of the `features` table, read with Arrow on any machine: drivers, workers, the review page.

Spark would hand over its vectors number by number: reading them from the files takes a third of its time.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables.ledger import latest_rows
from framewatch.tables.results import open_table

_BATCH = re.compile(r"batch=(\d+)/[^/]*$")
_SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
_METADATA_KEY = "framewatch"
# What Arrow calls the file that a row comes from.
PATH = "__filename"


@dataclass(frozen=True)
class FeatureFiles:
    """What the ledger vouches for of a run's features.

    Attributes:
        directory: of the table.
        paths: of the files, as the file system of `directory` has them.
        stale: for each batch, the videos that a later batch supersedes.
    """

    directory: str
    paths: tuple[str, ...]
    stale: Mapping[int, frozenset[str]] = field(default_factory=dict)

    @staticmethod
    def of(output: str) -> "FeatureFiles":
        """Those of an output.

        Raises:
            InputError: there are no features yet.
        """
        directory = storage.join(output, "features")
        paths = storage.parquet_files(directory, "batch=*/*.parquet")[1]
        if not paths:
            raise InputError(
                f"there is no table {directory}: run `framewatch featurize` with this output first"
            )
        rows = open_table(output, "videos").to_table(columns=["video", "batch"]).to_pylist()
        latest = latest_rows(rows)
        stale: dict[int, set[str]] = {row["batch"]: set() for row in rows}
        for row in rows:
            if latest[row["video"]]["batch"] != row["batch"]:
                stale[row["batch"]].add(row["video"])
        counted = tuple(path for path in paths if _batch_of(path) in stale)
        return FeatureFiles(directory, counted, {it: frozenset(its) for it, its in stale.items() if its})

    def identity(self) -> dict[str, Any]:
        """What made the features: the metadata of their column."""
        return column_metadata(self.open(self.paths[0]), "features")

    def open(self, path: str) -> Any:
        """One of the files, as a `pyarrow.parquet.ParquetFile`."""
        if storage.local_path(self.directory) is not None:
            return pq.ParquetFile(path)
        return pq.ParquetFile(storage.filesystem(self.directory)[0].open(path, "rb"))

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows of all files that count, with `video`, `columns`, and the file in `PATH`."""
        local = storage.local_path(self.directory) is not None
        files = None if local else storage.filesystem(self.directory)[0]
        rows = ds.dataset(list(self.paths), format="parquet", filesystem=files)
        for batch in rows.to_batches(columns=["video", *columns, PATH]):
            yield self._counted(batch, batch[PATH][0].as_py()) if batch.num_rows else batch

    def read(
        self, path: str, columns: Sequence[str], *, row_groups: Sequence[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of one file that count, with `video` and `columns`; `features` as lists of doubles."""
        names = [{"features": "features.values"}.get(name, name) for name in ("video", *columns)]
        batches = self.open(path).iter_batches(1024, row_groups, columns=names, use_threads=False)
        for batch in batches:
            yield self._counted(batch, path)

    def _counted(self, batch: pa.RecordBatch, path: str) -> pa.RecordBatch:
        stale = self.stale.get(_batch_of(path))
        if not stale:
            return batch
        return batch.filter(pc.invert(pc.is_in(batch["video"], value_set=pa.array(sorted(stale)))))


def column_metadata(file: Any, column: str) -> dict[str, Any]:
    """Framewatch's own metadata of a column, of a `pyarrow.parquet.ParquetFile` that Spark wrote."""
    schema = json.loads((file.schema_arrow.metadata or {}).get(_SPARK_SCHEMA, b"{}"))
    columns = {it["name"]: it.get("metadata", {}) for it in schema.get("fields", [])}
    return columns.get(column, {}).get(_METADATA_KEY, {})


def sampling(output: str) -> dict[str, Any]:
    """How a run's frames were taken: the metadata of their column; nothing where they are not there."""
    directory = storage.join(output, "frames")
    files, paths = storage.parquet_files(directory, "batch=*/*.parquet")
    if not paths:
        return {}
    with files.open(paths[0], "rb") as file:
        return column_metadata(pq.ParquetFile(file), "content")


def sampling_period_s(output: str, *, default: float) -> float:
    """Seconds from one frame of a run to the next; `default` where its frames are not there."""
    fps = sampling(output).get("fps")
    return 1 / fps if fps else default


def _batch_of(path: str) -> int:
    match = _BATCH.search(path)
    return int(match.group(1)) if match else -1


def vectors(features: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column of MLlib vectors, or of lists, as numbers.

    Returns:
        (valid rows, length) float32, and (rows,) whether each is valid: frames may have no features, and
        those of older runs some that are not finite.
    """
    values = features.field("values") if pa.types.is_struct(features.type) else features
    valid = pc.and_(features.is_valid(), values.is_valid()).to_numpy(zero_copy_only=False)
    if not valid.all():
        values = values.filter(pa.array(valid))
    numbers = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    rows = numbers.reshape((len(values), -1) if len(values) else (0, 0))
    finite = np.isfinite(rows).all(axis=1)
    if finite.all():
        return rows, valid
    usable = valid.copy()
    usable[valid] = finite
    return rows[finite], usable


def camera(video: str) -> str:
    """What tells cameras apart: the directory that a video lies in."""
    return video.rpartition("/")[0]


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows brought to length 1; one of zeros stays so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return rows / np.maximum(lengths, 1e-12)[:, None]
