"""Runs networks in Spark's Python workers: Arrow batches of pictures in, the same rows with output out."""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framewatch.errors import PictureError
from framewatch.io.images import MAX_PIXELS, decode_image, resize, struct_to_array
from framewatch.models.engines import PredictFn, make_predict_fn
from framewatch.models.network_output import run_network
from framewatch.models.spec import FeatureSpec
from framewatch.spark.worker_files import find_on_worker

_STRUCT_FIELDS = ("height", "width", "mode", "data")


@dataclass(frozen=True)
class Work:
    """The function for `mapInArrow`, which runs a network on the batches of a partition.

    Attributes:
        column: index of the column of pictures.
        output_col: name of the list<float> column to add.
        spec: the network, and how it runs.
        batch_size: number of pictures in one call of the network.
        error_col: name of the column to add for the reason of a null output; None for no such column.
        max_pixels: larger pictures are not decoded.
    """

    column: int
    output_col: str
    spec: FeatureSpec
    batch_size: int
    error_col: str | None = None
    max_pixels: int = MAX_PIXELS

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the batches with the output of the network in an additional column."""
        num_rows, errors = 0, Counter[str]()
        for batch in batches:
            for start in range(0, batch.num_rows, self.batch_size):
                rows = batch.slice(start, self.batch_size)
                numbers, found = self._numbers(rows.column(self.column))
                num_rows += rows.num_rows
                errors.update(filter(None, found))
                names, columns = [*rows.schema.names, self.output_col], [*rows.columns, numbers]
                if self.error_col is not None:
                    names, columns = [*names, self.error_col], [*columns, pa.array(found, pa.string())]
                yield pa.RecordBatch.from_arrays(columns, names=names)
        if errors:
            reasons = ", ".join(f"{count} {reason}" for reason, count in errors.most_common())
            print(
                f"framewatch: {self.output_col} is null for {errors.total()} of {num_rows} pictures: "
                f"{reasons}",
                file=sys.stderr,
            )

    def _numbers(self, pictures: pa.Array) -> tuple[pa.Array, list[str | None]]:
        """Returns one list of float32 or null for each picture, and the reasons of nulls."""
        resized: list[np.ndarray] = []
        errors: list[str | None] = []
        for decode in _decoders(pictures, self.max_pixels):
            try:
                resized.append(self._resized(decode()))
                errors.append(None)
            except PictureError as error:
                errors.append(error.reason)
        if not resized:  # the network is loaded at the first picture, because many partitions have none
            return pa.nulls(len(errors), pa.list_(pa.float32())), errors
        return run_network(self._predict_fn, resized, errors)

    @property
    def _predict_fn(self) -> PredictFn:
        return make_predict_fn(self.spec, find=find_on_worker)

    def _resized(self, image: np.ndarray) -> np.ndarray:
        return resize(image, self._predict_fn.input_size, method=self.spec.resize)


def _decoders(pictures: pa.Array, max_pixels: int) -> Iterator[Callable[[], np.ndarray]]:
    """Yields a function for each picture that decodes it, so that only one is decoded at a time."""
    if not pa.types.is_struct(pictures.type):
        for value in pictures:
            yield functools.partial(decode_image, value.as_py(), max_pixels=max_pixels)
        return
    fields = {name: pictures.field(name) for name in _STRUCT_FIELDS}
    for row, is_valid in enumerate(pictures.is_valid()):
        # A buffer of the batch instead of a copy, because a picture takes megabytes.
        data = fields["data"][row].as_buffer() if is_valid.as_py() else None
        numbers = {name: fields[name][row].as_py() for name in _STRUCT_FIELDS[:3]}
        yield functools.partial(struct_to_array, {**numbers, "data": data}, max_pixels=max_pixels)
