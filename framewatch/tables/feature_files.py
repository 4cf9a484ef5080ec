"""Reads the files of the `features` table with Arrow, on drivers, workers and in the review page.

Spark passes features to Python number by number. Reading the files takes a third of the time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables.ledger import superseded
from framewatch.tables.metadata import file_metadata
from framewatch.tables.results import batch_of, open_table

# Arrow's name for the column with the path of a row's file.
PATH = "__filename"


@dataclass(frozen=True)
class FeatureFiles:
    """The files of `features` whose rows count, according to the ledger.

    Attributes:
        directory: the table's directory.
        paths: paths of the files, in the form of the file system of `directory`.
        stale: by batch number, the videos that a later batch supersedes.
    """

    directory: str
    paths: tuple[str, ...]
    stale: Mapping[int, frozenset[str]] = field(default_factory=dict)

    @staticmethod
    def of(output: str) -> "FeatureFiles":
        """Lists the files of an output.

        Raises:
            InputError: there are no features.
        """
        directory = storage.join(output, "features")
        paths = storage.parquet_files(directory, "batch=*/*.parquet")[1]
        if not paths:
            raise InputError(
                f"there is no table {directory}: run `framewatch featurize` with this output first"
            )
        rows = open_table(output, "videos").to_table(columns=["video", "batch"]).to_pylist()
        stale = superseded(rows)
        counted = tuple(path for path in paths if batch_of(path) in stale)
        return FeatureFiles(directory, counted, {batch: videos for batch, videos in stale.items() if videos})

    def identity(self) -> dict[str, Any]:
        """Returns model, weights and other settings that made the features, from their column's metadata."""
        return file_metadata(self.open(self.paths[0]), "features")

    def open(self, path: str) -> Any:
        """Opens one of the files as a `pyarrow.parquet.ParquetFile`."""
        if storage.local_path(self.directory) is not None:
            return pq.ParquetFile(path)
        return pq.ParquetFile(storage.filesystem(self.directory)[0].open(path, "rb"))

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows that count in all files, with `video`, `columns`, and the file's path in `PATH`."""
        import pyarrow.dataset as ds  # imports pandas, which workers do without

        local = storage.local_path(self.directory) is not None
        files = None if local else storage.filesystem(self.directory)[0]
        rows = ds.dataset(list(self.paths), format="parquet", filesystem=files)
        for batch in rows.to_batches(columns=["video", *columns, PATH]):
            yield self._counted(batch, batch[PATH][0].as_py()) if batch.num_rows else batch

    def read(
        self, path: str, columns: Sequence[str], *, row_groups: Sequence[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yields the rows that count in one file, with `video` and `columns`."""
        file = self.open(path)
        # Of the MLlib vectors of older versions, only the values.
        in_vectors = "features" in columns and pa.types.is_struct(file.schema_arrow.field("features").type)
        names = ["features.values" if name == "features" and in_vectors else name for name in columns]
        batches = file.iter_batches(1024, row_groups, columns=["video", *names], use_threads=False)
        for batch in batches:
            yield self._counted(batch, path)

    def _counted(self, batch: pa.RecordBatch, path: str) -> pa.RecordBatch:
        stale = self.stale.get(batch_of(path))
        if not stale:
            return batch
        return batch.filter(pc.invert(pc.is_in(batch["video"], value_set=pa.array(sorted(stale)))))


def vectors(features: Any) -> tuple[np.ndarray, np.ndarray]:
    """Converts a column of lists, or of the MLlib vectors of older versions, to an array.

    Returns:
        (valid rows, length) float32, and (rows,) booleans: whether a row is valid. A row is not valid if the
        frame has no features, or if they are not finite, as in outputs of older versions.
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


def write_rows(uri: str, rows: pa.Table) -> None:
    """Writes rows with features to one Parquet file, with row groups of 8 MB for readers of single rows."""
    buffer = pa.BufferOutputStream()
    group = max(1, (8 << 20) * len(rows) // max(rows.nbytes, 1))
    pq.write_table(rows, buffer, compression="zstd", row_group_size=group)
    storage.write_bytes(uri, buffer.getvalue().to_pybytes())


def camera(video: str) -> str:
    """Returns a video's camera, which is the directory of its URI."""
    return video.rpartition("/")[0]
