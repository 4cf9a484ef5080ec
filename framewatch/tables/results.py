"""Reads the tables of an output with Arrow. Does not import Spark."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables import saved_model
from framewatch.tables.columns import INCIDENTS, VIDEOS
from framewatch.tables.ledger import latest_rows
from framewatch.tables.saved_model import SavedModel

# Texts that older versions did not write; they are read as null.
_LATER = ("kind",)
# The verb that writes each table, for messages about missing tables.
WRITTEN_BY = {
    "videos": "extract",
    "frames": "extract",
    "features": "featurize",
    "scores": "rank",
    "predictions": "rank",
    "incidents": "rank",
    "candidates": "rank",
    "classifications": "classify",
    "class_clips": "classify",
    "clusters": "explore",
    "cluster_frames": "explore",
    "cluster_times": "explore",
    "outliers": "explore",
}


def open_table(output: str, table: str) -> Any:
    """Opens a table as a `pyarrow.dataset.Dataset`.

    Raises:
        InputError: the table does not exist.
    """
    import pyarrow.dataset as ds  # imports pandas, which workers do without

    path = storage.join(output, table)
    files, found = storage.parquet_files(path, "**/*.parquet")
    if not found:
        raise InputError(
            f"there is no table {path}: run `framewatch {WRITTEN_BY[table]}` with this output first"
        )
    base = storage.filesystem(path)[1]
    batch = pa.schema([VIDEOS.field("batch")])
    schema = None
    if table == "videos":  # older versions wrote fewer columns
        schemas = [pq.read_schema(path, filesystem=files) for path in found]
        schema = pa.unify_schemas([*schemas, batch], promote_options="permissive")
    return ds.dataset(
        found,
        schema=schema,
        format="parquet",
        partitioning=ds.partitioning(batch, flavor="hive"),
        partition_base_dir=base,
        filesystem=files,
    )


def read_videos(output: str, columns: Sequence[str]) -> pa.Table:
    """Reads columns of the ledger; those that older versions did not write are null.

    Raises:
        InputError: there is no ledger.
    """
    videos = open_table(output, "videos")
    rows = videos.to_table(columns=[name for name in columns if name in videos.schema.names])
    for name in columns:
        if name not in rows.column_names:
            rows = rows.append_column(VIDEOS.field(name), pa.nulls(len(rows), VIDEOS.field(name).type))
    return rows.select(list(columns))


# A file's size in bytes and its modification time in epoch milliseconds; None if the ledger lacks them.
FileId = tuple[int | None, int | None]


def video_files(output: str) -> dict[str, FileId]:
    """Returns size and modification time of each video's file, by URI; empty if there is no ledger."""
    try:
        ledger = open_table(output, "videos")
    except InputError:
        return {}
    wanted = ["video", "size_bytes", "modified_ms", "modified_at", "batch"]
    videos = _upgraded(ledger.to_table(columns=[name for name in wanted if name in ledger.schema.names]))
    rows = latest_rows(videos.select(["video", "batch", "size_bytes", "modified_ms"]).to_pylist())
    return {video: (row["size_bytes"], row["modified_ms"]) for video, row in rows.items()}


class Results:
    """The tables and JSON files of an output whose frames have been ranked."""

    def __init__(self, output: str) -> None:
        """Reads ranking.json.

        Args:
            output: the output directory.

        Raises:
            InputError: no frames have been ranked there.
        """
        self.output = output
        try:
            self.ranking: dict[str, Any] = self.read_ranking()
        except FileNotFoundError as error:
            raise InputError(
                f"no frames have been ranked in {output}: run `framewatch rank` with output={output} first"
            ) from error

    @property
    def model_path(self) -> str:
        """Directory of the classifier that made the ranking."""
        path = self.ranking["model_path"]
        return storage.join(self.output, path) if path == "model" else path

    def read_ranking(self) -> dict[str, Any]:
        """Returns the current contents of ranking.json; `ranking` has those at this object's creation."""
        return storage.read_json(storage.join(self.output, "ranking.json"))

    @property
    def stale(self) -> str:
        """One line that names outputs left stale by a killed `rank`; empty if none."""
        parts = " and ".join(self.ranking.get("stale", []))
        return f"older than the ranking: {parts}; run `framewatch rank` again" if parts else ""

    def dataset(self, table: str) -> Any:
        """Opens a table as a `pyarrow.dataset.Dataset`.

        Raises:
            InputError: the table does not exist.
        """
        return open_table(self.output, table)

    def read(self, table: str, columns: list[str], *, videos: list[str] | None = None) -> pa.Table:
        """Reads columns of a table.

        Args:
            table: the name of the table.
            columns: names of the columns.
            videos: URIs of the videos to read; None for all.
        """
        only = None if videos is None else pc.field("video").isin(videos)
        if table == "predictions":  # older versions ranked NaN first
            is_number = pc.is_finite(pc.field("prob2"))
            only = is_number if only is None else only & is_number
        dataset = self.dataset(table)
        rows = dataset.to_table(
            columns=[name for name in columns if name not in _LATER or name in dataset.schema.names],
            filter=only,
        )
        for name in columns:
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
        return rows.select(columns)

    def incidents(self) -> pa.Table:
        """Reads the incidents, the most suspicious first."""
        return self.read("incidents", INCIDENTS.names).sort_by("rank")

    def ranked_videos(self) -> list[str]:
        """Returns the sorted URIs of videos with ranked frames, without loading the whole table."""
        found: set[str] = set()
        for batch in self.dataset("predictions").to_batches(columns=["video"]):
            found.update(batch["video"].unique().to_pylist())
        return sorted(found)

    def videos(self) -> list[dict[str, Any]]:
        """Returns the rows of the ledger that count, in order of URI."""
        return list(latest_rows(_upgraded(self.dataset("videos").to_table()).to_pylist()).values())

    def model_notes(self) -> dict[str, Any] | None:
        """Returns the contents of the classifier's metrics.json; None if the classifier has been deleted."""
        saved = self._saved_model()
        return None if saved is None else saved.notes

    def _saved_model(self) -> SavedModel | None:
        """Returns the version that made the ranking, which may no longer be the current one."""
        return saved_model.read(self.model_path, self.ranking.get("model_version"))

    def test_metrics(self) -> dict[str, Any] | None:
        """Returns the ranking's metrics on test labels; None if there were no test labels."""
        try:
            return storage.read_json(storage.join(self.output, "test_metrics.json"))
        except FileNotFoundError:
            return None

    def known_labels(self) -> dict[str, list[tuple[float, float]]]:
        """Returns the labels used in training and testing, as sorted (timestamp_s, label) by video URI."""
        found: dict[str, list[tuple[float, float]]] = {}
        for rows in (self.labelled(), _optional(storage.join(self.output, "labelled"))):
            if rows is None:
                continue
            # Of weak labels, the classifier also learned from frames that nobody has labelled.
            only = pc.field("known") if "known" in rows.schema.names else None
            for row in rows.to_table(columns=["video", "timestamp_s", "label"], filter=only).to_pylist():
                found.setdefault(row["video"], []).append((row["timestamp_s"], row["label"]))
        return {video: sorted(set(labels)) for video, labels in found.items()}

    def labelled(self) -> Any | None:
        """Opens the classifier's training frames as a dataset; None if they were not kept."""
        saved = self._saved_model()
        return None if saved is None else _optional(saved.labelled_path)


def _upgraded(videos: pa.Table) -> pa.Table:
    """Adds the columns that older versions did not write to `videos`, as `Tables.read` does."""
    for field in VIDEOS:
        if field.name not in videos.column_names:
            videos = videos.append_column(field, pa.nulls(len(videos), field.type))
    # Arrow reads a time without a zone as UTC, as Spark writes it. Python would read it as local time.
    at = videos["modified_at"]
    at_ms = at.cast(pa.timestamp("ms", at.type.tz), safe=False).cast(pa.int64())
    place = videos.column_names.index("modified_ms")
    return videos.set_column(place, "modified_ms", pc.coalesce(videos["modified_ms"], at_ms))


def _row_groups(rows: Any, columns: list[str]) -> Iterator[pa.Table]:
    # A dataset's own `to_batches` reads ahead, and keeps the file's bytes in memory next to the arrays.
    for path in rows.files:
        with rows.filesystem.open_input_file(path) as file:
            parquet = pq.ParquetFile(file)
            for number in range(parquet.num_row_groups):
                yield parquet.read_row_group(number, columns=columns, use_threads=False)


def _optional(uri: str) -> Any | None:
    import pyarrow.dataset as ds

    # A run that was killed while it deleted the directory may leave other files.
    files, paths = storage.parquet_files(uri, "*.parquet")
    return ds.dataset(paths, format="parquet", filesystem=files) if paths else None


def read_vectors(rows: Any, names: Sequence[str]) -> np.ndarray:
    """Reads features of frames by row group, so that memory holds only one copy of them.

    Args:
        rows: a `pyarrow.dataset.Dataset` with `origin` and `features`, lists of equal length.
        names: origins of the frames to read; all of them must be in `rows`.

    Returns:
        (names, length) float32, in the order of `names`; (0, 0) if `names` is empty.
    """
    place = {name: number for number, name in enumerate(names)}
    found = np.zeros((0, 0), np.float32)
    for batch in _row_groups(rows, ["origin", "features"]):
        places = np.array([place.get(name, -1) for name in batch["origin"].to_pylist()], int)
        if not (places >= 0).any():
            continue
        vectors = batch["features"].combine_chunks().flatten().to_numpy().reshape(len(batch), -1)
        if not len(found):
            found = np.zeros((len(names), vectors.shape[1]), np.float32)
        found[places[places >= 0]] = vectors[places >= 0]
    return found
