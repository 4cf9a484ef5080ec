"""Records what each file of `frames` and `features` holds, so that nobody reads these tables to know it.

The record of a batch is `contents/batch=3/features.parquet`, written after the batch. Batches without one are
counted: those of older versions, and of runs that were killed before they wrote it.
"""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from framewatch.io import storage
from framewatch.models.network_output import NOT_FINITE
from framewatch.tables.columns import CONTENTS
from framewatch.tables.feature_vectors import vectors
from framewatch.tables.ledger import batch_of, latest_batches, superseded
from framewatch.tables.origins import VideoNames
from framewatch.tables.results import read_videos

# The files are small and may be on remote storage.
_THREADS = 8
# Why frames of older versions, which did not say it, have no features.
_UNKNOWN = "damaged"
# How often a reader looks again while a run changes the batches.
_ATTEMPTS = 3
_PLACE = ("video", "batch", "file")


@dataclass(frozen=True)
class Held:
    """Which files hold the rows of a table that count.

    Attributes:
        names: the names of the videos in the ledger.
        paths: by URI of a video, sorted, the paths of its files, in the form of the output's file system.
        stale: for each committed batch, the videos in it whose rows do not count.
    """

    names: VideoNames
    paths: Mapping[str, tuple[str, ...]]
    stale: Mapping[int, frozenset[str]]

    def paths_of(self, origin: str) -> list[str]:
        """Returns the paths of files that may have a frame with this `origin`, or one that ends in it."""
        videos = self.names.may_have(origin)
        return list(dict.fromkeys(path for video in videos for path in self.paths.get(video, ())))


def held_by(output: str, table: str) -> Held:
    """Returns which files of `frames` or `features` hold rows that count.

    Raises:
        InputError: there is no ledger.
    """
    for _ in range(_ATTEMPTS):
        batches = storage.children(storage.join(output, "videos"))
        with contextlib.suppress(FileNotFoundError):
            held = _held_by(output, table)
            # Otherwise a run has committed or joined batches meanwhile.
            if storage.children(storage.join(output, "videos")) == batches:
                return held
    return _held_by(output, table)


def _held_by(output: str, table: str) -> Held:
    ledger = read_videos(output, ["video", "batch", "name"])
    latest = latest_batches(ledger)
    rows = read(output, table, latest["batch"].unique().to_pylist()).select(list(_PLACE))
    rows = rows.join(latest, ["video", "batch"], join_type="left semi").to_pydict()
    top, texts = storage.filesystem(storage.join(output, table))[1], dict[tuple[int, str], str]()
    paths: dict[str, dict[str, None]] = {}
    for video, batch, file in zip(*(rows[name] for name in _PLACE), strict=True):
        path = texts.setdefault((batch, file), f"{top}/batch={batch}/{file}")
        paths.setdefault(video, {})[path] = None
    found = {video: tuple(sorted(of_video)) for video, of_video in sorted(paths.items())}
    names = ledger.join(latest, ["video", "batch"], join_type="left semi").select(["video", "name"])
    return Held(VideoNames.of(names.to_pylist()), found, superseded(ledger))


def read(output: str, table: str, batches: Iterable[int], *, keep: bool = False) -> pa.Table:
    """Returns what the files of a table hold, without those of other batches.

    Args:
        output: the output directory.
        table: `frames` or `features`.
        batches: numbers of batches.
        keep: whether to record what has to be counted, with the reasons in `error`, which are null otherwise.
            Only a run that holds the output's lock may do this.

    Returns:
        The number of rows of each `video` and `error` in each `file` of each `batch`, as `columns.CONTENTS`.
        Paths are `features/batch={batch}/{file}`.
    """
    files, recorded = storage.parquet_files(storage.join(output, "contents"), f"batch=*/{table}.parquet")
    wanted = set(batches)
    paths = {batch: path for path in recorded if (batch := batch_of(path)) in wanted}

    def of(path: str) -> pa.Table:
        with files.open(path, "rb") as file:
            return pq.ParquetFile(file).read()

    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(of, paths.values()))
    if missing := wanted - paths.keys():
        counted = _count(output, table, missing, errors=keep)
        found.append(counted)
        if keep:
            for batch in sorted(missing):
                _record(output, table, batch, counted.filter(pc.equal(counted["batch"], batch)))
    return pa.concat_tables([CONTENTS.empty_table(), *found])


def file_bytes(output: str, table: str, batches: Iterable[int]) -> int:
    """Returns the size of all files of batches in bytes."""
    rows = read(output, table, batches).group_by(["batch", "file"]).aggregate([("file_bytes", "max")])
    return sum(rows["file_bytes_max"].to_pylist())


def record(output: str, table: str, batch: int) -> None:
    """Counts and records what the files of a batch hold."""
    _record(output, table, batch, _count(output, table, {batch}, errors=True))


def _record(output: str, table: str, batch: int, counted: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(counted, buffer, compression="zstd")
    storage.write_bytes(_path(output, table, batch), buffer.getvalue().to_pybytes())


def forget(output: str, table: str, batch: int | None = None) -> None:
    """Deletes the record of a batch, or of the whole table, before its files change."""
    if batch is not None:
        storage.delete(_path(output, table, batch))
        return
    for name in storage.children(storage.join(output, "contents")):
        storage.delete(storage.join(output, "contents", name, f"{table}.parquet"))


def _path(output: str, table: str, batch: int) -> str:
    return storage.join(output, "contents", f"batch={batch}", f"{table}.parquet")


def _count(output: str, table: str, batches: Collection[int], *, errors: bool) -> pa.Table:
    only = f"batch={next(iter(batches))}" if len(batches) == 1 else "batch=*"
    files, paths = storage.parquet_files(storage.join(output, table), f"{only}/*.parquet")
    wanted = [path for path in paths if batch_of(path) in batches]  # of Delta, all are listed

    def of(path: str) -> pa.Table:
        return _count_file(files, path, errors=errors)

    with ThreadPoolExecutor(_THREADS) as threads:
        return pa.concat_tables([CONTENTS.empty_table(), *threads.map(of, wanted)])


def _count_file(files: Any, path: str, *, errors: bool) -> pa.Table:
    with files.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        rows = parquet.read(columns=["video"])
        rows = rows.append_column("error", _errors(parquet) if errors else pa.nulls(len(rows), pa.string()))
    counted = rows.group_by(["video", "error"]).aggregate([([], "count_all")])
    count = len(counted)
    columns = {
        "video": counted["video"],
        "error": counted["error"],
        "num_frames": counted["count_all"],
        "file": [storage.basename(path)] * count,
        "file_bytes": [files.size(path)] * count,
        "batch": [batch_of(path)] * count,
    }
    return pa.table(columns, schema=CONTENTS)


def _errors(parquet: pq.ParquetFile) -> Any:
    """Returns why each frame has no features, null where it has; null for all `frames`."""
    schema = parquet.schema_arrow
    if "features" not in schema.names:
        return pa.nulls(parquet.metadata.num_rows, pa.string())
    written = parquet.read(columns=["error"])["error"] if "error" in schema.names else None
    if written is not None and not pa.types.is_struct(schema.field("features").type):
        return written
    reasons: list[str | None] = []  # of older versions: as `upgrade.features` reads them
    for batch in parquet.iter_batches(1024, columns=["features"]):
        usable = vectors(batch["features"])[1]
        missing = batch["features"].is_null().to_pylist()
        pairs = zip(usable.tolist(), missing, strict=True)
        reasons += [None if has else _UNKNOWN if is_null else NOT_FINITE for has, is_null in pairs]
    found = pa.array(reasons, pa.string())
    return found if written is None else pc.coalesce(written, found)
