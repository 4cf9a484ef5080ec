"""Reads single pictures from the `frames` table, or cuts them from the videos if it has none."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from framewatch.errors import PictureError, VideoError
from framewatch.io import images, storage
from framewatch.tables import contents
from framewatch.tables.ledger import batch_of
from framewatch.tables.metadata import file_metadata
from framewatch.tables.results import Results
from framewatch.video.process import DecoderProcess
from framewatch.video.worker import Sampling, extraction_request, kept_pictures

# Row groups to keep in memory: neighbours in the queue are often in the same one. Origins are small.
_KEPT_GROUPS, _KEPT_ORIGINS = 4, 256
# Cut pictures to keep in memory, some 100 KB each, and the seconds that cutting one may take.
_KEPT_CUT, _CUT_TIMEOUT_S = 200, 60.0
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
        """Prepares; files are looked up on the first request.

        Args:
            results: the output with the table `frames`.
        """
        self._files = storage.filesystem(storage.join(results.output, "frames"))[0]
        self._output = results.output
        self._held: contents.Held | None = None
        self._groups: dict[str, list[_Group]] = {}
        self._kept: LRUCache[_Group, Any] = LRUCache(_KEPT_GROUPS)
        self._origins: LRUCache[_Group, Any] = LRUCache(_KEPT_ORIGINS)
        self._cut: LRUCache[str, bytes | None] = LRUCache(_KEPT_CUT)
        self._decoder = DecoderProcess()
        self._lock = threading.Lock()

    def get(self, origin: str) -> bytes | None:
        """Returns the JPEG of a frame: the stored one, or one that is cut from the video.

        None if no frame of that name counts, according to the ledger, or if the video can no longer be read.
        """
        with self._lock:
            try:
                return self._find(origin)
            except FileNotFoundError:  # a run has joined batches since
                self._held = None
                for kept in (self._groups, self._kept, self._origins):
                    kept.clear()
                return self._find(origin)

    def _find(self, origin: str) -> bytes | None:
        if self._held is None:
            self._held = contents.held_by(self._output, "frames")
        for group in self._groups_for(self._held.paths_of(origin)):
            if group.may_hold(origin):
                found = pc.index(self._names(group), origin).as_py()
                if found >= 0:
                    content = self._rows(group)["content"][found].as_py()
                    return self._cut_picture(group, origin, found) if content is None else content
        return None

    def thumbnail(self, origin: str, width: int) -> bytes | None:
        """Returns a frame's picture as a JPEG of at most this width in pixels; None if there is none."""
        content = self.get(origin)
        return None if content is None else smaller(content, width)

    def _groups_for(self, paths: Iterable[str]) -> Iterator[_Group]:
        for path in paths:
            if path not in self._groups:
                self._groups[path] = self._row_groups(path)
            yield from self._groups[path]

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

    def _names(self, group: _Group) -> Any:
        # Read before the pictures, because several files may have rows between the same names.
        if group not in self._origins:
            self._origins[group] = self._read(group, ["origin"])["origin"]
        return self._origins[group]

    def _rows(self, group: _Group) -> Any:
        if group not in self._kept:
            self._kept[group] = self._read(group, ["content"])
        return self._kept[group]

    def _read(self, group: _Group, columns: list[str]) -> Any:
        with self._files.open(group.path, "rb") as file:
            rows = pq.ParquetFile(file).read_row_group(group.number, columns=["video", *columns])
        stale = self._held.stale[batch_of(group.path)] if self._held else None
        if stale:
            rows = rows.filter(pc.invert(pc.is_in(rows["video"], value_set=pa.array(sorted(stale)))))
        return rows

    def _cut_picture(self, group: _Group, origin: str, number: int) -> bytes | None:
        if origin not in self._cut:
            with self._files.open(group.path, "rb") as file:
                metadata = file_metadata(pq.ParquetFile(file), "frames")
            rows = self._read(group, ["frame_index"])
            self._cut[origin] = self._decoded(metadata, rows.slice(number, 1).to_pylist()[0])
        return self._cut[origin]

    def _decoded(self, metadata: Mapping[str, Any], frame: Mapping[str, Any]) -> bytes | None:
        """Returns the JPEG of a sample, which the decoder finds as it did when the video was read."""
        if kept_pictures(metadata) != "none":
            return None
        sampling = Sampling(
            fps=metadata["fps"],
            max_side=metadata.get("max_side", 0),
            tolerance_s=metadata.get("keyframes_within_s", 0.0),
        )
        index = frame["frame_index"]
        part = {"video": frame["video"], "first": index, "stop": index + 1}
        answers = self._decoder.run(extraction_request(part, sampling), timeout_s=_CUT_TIMEOUT_S)
        found = None
        with contextlib.suppress(VideoError):
            for header, jpeg in answers:
                found = found if "outcome" in header else jpeg
        return found


def smaller(content: bytes, width: int) -> bytes | None:
    """Returns a JPEG scaled down to at most this width in pixels; None if `content` cannot be decoded."""
    try:
        picture = images.decode_image(content)
    except PictureError:
        return None
    return images.encode_jpeg(images.shrink(picture, width), quality=_QUALITY)
