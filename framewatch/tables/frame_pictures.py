"""Reads single pictures from the `frames` table, one row group at a time."""

import threading
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from framewatch.errors import PictureError
from framewatch.io import images, storage
from framewatch.tables.ledger import superseded
from framewatch.tables.results import Results, batch_of, open_table

# Row groups to keep in memory: neighbours in the queue are often in the same one.
_KEPT_GROUPS = 4
_QUALITY = 80


@dataclass(frozen=True)
class _Group:
    """A row group, with its first and last `origin`; None if the file has no statistics."""

    path: str
    number: int
    first: str | None
    last: str | None

    def may_hold(self, origin: str) -> bool:
        return self.first is None or self.last is None or self.first <= origin <= self.last


class Pictures:
    """Finds pictures by `origin`; its methods may be called by several threads."""

    def __init__(self, results: Results) -> None:
        """Lists the files of the `frames` table; they are read on the first request.

        Args:
            results: the output with the table.
        """
        self._files, paths = storage.parquet_files(
            storage.join(results.output, "frames"), "batch=*/*.parquet"
        )
        self._output, self._paths = results.output, paths
        # By batch, the videos whose frames do not count.
        self._stale: dict[int, frozenset[str]] = {}
        self._groups: list[_Group] | None = None
        self._kept: LRUCache[_Group, Any] = LRUCache(_KEPT_GROUPS)
        self._lock = threading.Lock()

    def get(self, origin: str) -> bytes | None:
        """Returns the JPEG of a frame; None if no frame of that name counts, according to the ledger."""
        with self._lock:
            if self._groups is None:
                self._groups = self._counted_groups()
            for group in self._groups:
                if group.may_hold(origin):
                    rows = self._rows(group)
                    found = pc.index(rows["origin"], origin).as_py()
                    if found >= 0:
                        return rows["content"][found].as_py()
        return None

    def thumbnail(self, origin: str, width: int) -> bytes | None:
        """Returns a frame's picture as a JPEG of at most this width in pixels; None if there is none."""
        content = self.get(origin)
        return None if content is None else smaller(content, width)

    def _counted_groups(self) -> list[_Group]:
        """Returns the row groups of the committed batches."""
        if not self._paths:
            return []
        videos = open_table(self._output, "videos").to_table(columns=["video", "batch"])
        self._stale = superseded(videos.to_pylist())
        counted = [path for path in self._paths if batch_of(path) in self._stale]
        return [group for path in counted for group in self._row_groups(path)]

    def _row_groups(self, path: str) -> list[_Group]:
        with self._files.open(path, "rb") as file:
            about = pq.ParquetFile(file).metadata
        column = about.schema.to_arrow_schema().get_field_index("origin")
        groups = []
        for number in range(about.num_row_groups):
            statistics = about.row_group(number).column(column).statistics
            has_range = statistics is not None and statistics.has_min_max
            groups.append(
                _Group(path, number, *((statistics.min, statistics.max) if has_range else (None, None)))
            )
        return groups

    def _rows(self, group: _Group) -> Any:
        if group not in self._kept:
            with self._files.open(group.path, "rb") as file:
                rows = pq.ParquetFile(file).read_row_group(
                    group.number, columns=["origin", "video", "content"]
                )
            stale = self._stale[batch_of(group.path)]
            if stale:
                rows = rows.filter(pc.invert(pc.is_in(rows["video"], value_set=pa.array(sorted(stale)))))
            self._kept[group] = rows
        return self._kept[group]


def smaller(content: bytes, width: int) -> bytes | None:
    """Returns a JPEG scaled down to at most this width in pixels; None if `content` cannot be decoded."""
    try:
        picture = images.decode_image(content)
    except PictureError:
        return None
    return images.encode_jpeg(images.shrink(picture, width), quality=_QUALITY)
