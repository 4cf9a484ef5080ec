"""What runs in Spark's Python workers: Arrow batches of pictures in, the same rows with numbers out."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import SparkFiles

from framewatch.featurizer.engines import PredictFn, make_predict_fn
from framewatch.featurizer.spec import FeatureSpec
from framewatch.images import decode_image, resize, struct_to_array

_STRUCT_FIELDS = ("height", "width", "mode", "data")


def find_on_worker(path: str) -> str:
    """The driver's file on this machine: at the same path, or among the session's files."""
    return path if os.path.isfile(path) else SparkFiles.get(os.path.basename(path))


@dataclass(frozen=True)
class Work:
    """What to do with each batch; called by `mapInArrow` with the batches of a partition.

    Attributes:
        column: index of the column of pictures.
        output_col: name of the list<float> column to add.
        spec: what runs on them.
        batch_size: pictures in one call of the network.
    """

    column: int
    output_col: str
    spec: FeatureSpec
    batch_size: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        num_rows = num_without = 0
        for batch in batches:
            for start in range(0, batch.num_rows, self.batch_size):
                rows = batch.slice(start, self.batch_size)
                features = self._features(rows.column(self.column))
                num_rows, num_without = num_rows + rows.num_rows, num_without + features.null_count
                columns = [*rows.columns, features]
                yield pa.RecordBatch.from_arrays(columns, names=[*rows.schema.names, self.output_col])
        if num_without:
            print(
                f"framewatch: {num_without} of {num_rows} pictures are null or could not be decoded: their "
                f"{self.output_col} is null",
                file=sys.stderr,
            )

    def _features(self, pictures: pa.Array) -> pa.Array:
        """One list of float32 for each picture, null where there is none."""
        resized = [None if image is None else self._resized(image) for image in _decoded(pictures)]
        valid = [image for image in resized if image is not None]
        if not valid:
            return pa.nulls(len(resized), pa.list_(pa.float32()))
        return _lists(self._predict_fn.run(np.stack(valid)), [image is None for image in resized])

    @property
    def _predict_fn(self) -> PredictFn:
        # Loaded at the first picture, not before: many a partition has none.
        return make_predict_fn(self.spec, find=find_on_worker)

    def _resized(self, image: np.ndarray) -> np.ndarray:
        return resize(image, self._predict_fn.input_size, method=self.spec.resize)


def _decoded(pictures: pa.Array) -> Iterator[np.ndarray | None]:
    """Decodes one after the other: a batch of large pictures is never in memory at once."""
    if not pa.types.is_struct(pictures.type):
        for value in pictures:
            yield decode_image(value.as_py())
        return
    fields = {name: pictures.field(name) for name in _STRUCT_FIELDS}
    for row, is_valid in enumerate(pictures.is_valid()):
        # A buffer of the batch, not a copy: a picture is megabytes.
        data = fields["data"][row].as_buffer() if is_valid.as_py() else None
        numbers = {name: fields[name][row].as_py() for name in _STRUCT_FIELDS[:3]}
        yield None if data is None else struct_to_array({**numbers, "data": data})


def _lists(values: np.ndarray, missing: list[bool]) -> pa.Array:
    """The rows of `values` as lists, with a null wherever one is missing."""
    lengths = np.where(missing, 0, values.shape[1])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values.ravel()), mask=pa.array(missing, pa.bool_())
    )
