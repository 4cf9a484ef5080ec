"""Reads the files of the `features` table with Arrow, on drivers, workers and in the review page.

Spark passes features to Python number by number. Reading the files takes a third of the time.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables import contents
from framewatch.tables.feature_vectors import vectors as vectors
from framewatch.tables.ledger import batch_of
from framewatch.tables.metadata import file_metadata
from framewatch.tables.origins import VideoNames


@dataclass(frozen=True)
class FeatureFiles:
    """The files of `features` whose rows count, according to the ledger.

    Attributes:
        directory: the table's directory.
        paths: paths of the files, in the form of the file system of `directory`.
        stale: by batch number, the videos that a later batch supersedes.
        videos: by the URI of a video, sorted, the paths of the files that have its rows.
        names: the videos' names.
    """

    directory: str
    paths: tuple[str, ...]
    stale: Mapping[int, frozenset[str]] = field(default_factory=dict)
    videos: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: VideoNames = field(default_factory=VideoNames)

    @staticmethod
    def of(output: str) -> "FeatureFiles":
        """Lists the files of an output.

        Raises:
            InputError: there are no features.
        """
        directory = storage.join(output, "features")
        if not storage.matches(directory, "batch=*/*.parquet"):
            raise InputError(
                f"there is no table {directory}: run `framewatch featurize` with this output first"
            )
        held = contents.held_by(output, "features")
        paths = dict.fromkeys(itertools.chain.from_iterable(held.paths.values()))
        if not paths:
            raise InputError(f"no video in {output} has frames: its table `videos` has the reasons")
        stale = {batch: videos for batch, videos in held.stale.items() if videos}
        return FeatureFiles(directory, tuple(sorted(paths)), stale, held.paths, held.names)

    def for_workers(self) -> "FeatureFiles":
        """Returns the same without paths, which tasks get from elsewhere: all of them would go to each."""
        return replace(self, paths=(), videos={}, names=VideoNames())

    def identity(self) -> dict[str, Any]:
        """Returns model, weights and other settings that made the features, from their column's metadata."""
        return file_metadata(self.open(self.paths[0]), "features")

    def open(self, path: str) -> Any:
        """Opens one of the files as a `pyarrow.parquet.ParquetFile`."""
        if storage.local_path(self.directory) is not None:
            return pq.ParquetFile(path)
        return pq.ParquetFile(storage.filesystem(self.directory)[0].open(path, "rb"))

    def read(
        self,
        path: str,
        columns: Sequence[str],
        *,
        row_groups: Sequence[int] | None = None,
        video: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yields the rows that count in one file, with `video` and `columns`, all or those of one video."""
        file = self.open(path)
        # Of the MLlib vectors of older versions, only the values.
        in_vectors = "features" in columns and pa.types.is_struct(file.schema_arrow.field("features").type)
        names = ["features.values" if name == "features" and in_vectors else name for name in columns]
        if video is not None:
            row_groups = [number for number in range(file.num_row_groups) if _may_hold(file, number, video)]
        batches = file.iter_batches(1024, row_groups, columns=["video", *names], use_threads=False)
        for batch in batches:
            rows = self._counted(batch, path)
            yield rows if video is None else rows.filter(pc.equal(rows["video"], video))

    def _counted(self, batch: pa.RecordBatch, path: str) -> pa.RecordBatch:
        stale = self.stale.get(batch_of(path))
        if not stale:
            return batch
        return batch.filter(pc.invert(pc.is_in(batch["video"], value_set=pa.array(sorted(stale)))))


def _may_hold(file: pq.ParquetFile, row_group: int, video: str) -> bool:
    column = file.schema_arrow.get_field_index("video")
    found = file.metadata.row_group(row_group).column(column).statistics
    return found is None or not found.has_min_max or found.min <= video <= found.max


def write_rows(uri: str, rows: pa.Table) -> None:
    """Writes rows with features to one Parquet file, with row groups of 8 MB for readers of single rows."""
    buffer = pa.BufferOutputStream()
    group = max(1, (8 << 20) * len(rows) // max(rows.nbytes, 1))
    pq.write_table(rows, buffer, compression="zstd", row_group_size=group)
    storage.write_bytes(uri, buffer.getvalue().to_pybytes())


def camera(video: str) -> str:
    """Returns a video's camera, which is the directory of its URI."""
    return video.rpartition("/")[0]
