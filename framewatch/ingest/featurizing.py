"""The Spark task of the one pass: decodes parts of videos, and runs the network on their samples meanwhile.

In a separate module, so that a worker does not import pyspark.ml and pandas, which takes most of a second.
"""

import contextlib
import itertools
import os
import queue
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framewatch.io import access
from framewatch.models.engines import PredictFn, make_predict_fn
from framewatch.models.feature_maps import MapsFn, change, make_maps_fn
from framewatch.models.network_output import feature_lists, lists, run_network
from framewatch.models.spec import FeatureSpec
from framewatch.spark.worker_files import find_on_worker
from framewatch.video.worker import NetworkInput, Sampling, decoder, part_rows

# Batches of the network that the decoder may be ahead: 17 MB each for pictures of 299 x 299.
_BATCHES_AHEAD = 2
_NO_FRAME = "no frame"
_POLL_S = 0.2
_END: Any = object()


@dataclass(frozen=True)
class Featurizing:
    """How the samples of a part are turned into features.

    Attributes:
        spec: the network, and how it runs.
        batch_size: number of pictures in one call of the network.
        max_pixels: larger pictures get no features.
    """

    spec: FeatureSpec
    batch_size: int
    max_pixels: int


def ingest_batches(
    batches: Iterator[pa.RecordBatch],
    *,
    schema: pa.Schema,
    sampling: Sampling,
    images_root: str,
    featurizing: Featurizing,
    file_access: str = "private",
) -> Iterator[pa.RecordBatch]:
    """Decodes parts of videos; yields one row per frame with its features, and one with each part's outcome.

    The decoder runs in its child process, and a thread reads its answers while the network computes.
    """
    access.set_access(file_access)
    parts = [part for batch in batches for part in batch.to_pylist()]
    if not parts:
        return
    spec = featurizing.spec
    network = (
        make_maps_fn(spec, find=find_on_worker)
        if sampling.burst > 1
        else make_predict_fn(spec, find=find_on_worker)
    )
    wanted = NetworkInput(network.input_size, spec.resize, featurizing.max_pixels)
    rows = part_rows(parts, sampling, images_root, network_input=wanted)
    at_once = max(1, featurizing.batch_size // sampling.burst)
    with _ReadAhead(rows, most=_BATCHES_AHEAD * at_once) as ready:
        while some := list(itertools.islice(ready, at_once)):
            yield _with_features(some, network, schema)


def _with_features(
    rows: list[dict[str, Any]], network: PredictFn | MapsFn, schema: pa.Schema
) -> pa.RecordBatch:
    """Returns rows of frames and outcomes as an Arrow batch, with the features of the frames."""
    size = network.input_size
    errors = [_NO_FRAME if "outcome" in row else row["error"] for row in rows]
    bursts = [
        np.frombuffer(row["pixels"], np.uint8).reshape(-1, size, size, 3)
        for row, error in zip(rows, errors, strict=True)
        if error is None
    ]
    if isinstance(network, MapsFn):
        features, changes, reasons = _of_bursts(bursts, errors, network)
    else:
        features, reasons = run_network(network, [burst[0] for burst in bursts], errors)
        changes = pa.nulls(len(rows), pa.list_(pa.float32()))
    added = {
        "features": features.cast(schema.field("features").type),
        "change": changes.cast(schema.field("change").type),
        "error": pa.array([None if reason == _NO_FRAME else reason for reason in reasons], pa.string()),
    }
    names = [name for name in schema.names if name not in added]
    others = pa.RecordBatch.from_pylist(rows, pa.schema([schema.field(name) for name in names]))
    columns = {**dict(zip(names, others.columns, strict=True)), **added}
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _of_bursts(
    bursts: Sequence[np.ndarray], errors: Sequence[str | None], network: MapsFn
) -> tuple[pa.Array, pa.Array, list[str | None]]:
    """Returns the features of samples, how much they change, and the reasons of nulls.

    Args:
        bursts: (pictures, size, size, 3) uint8 BGR of each sample without an error, which comes first.
        errors: for each row, why it has no picture; None if it has one.
        network: the network.
    """
    if not bursts:
        features, reasons = feature_lists(np.zeros((0, 0), np.float32), errors)
        return features, features, reasons
    values, maps = network.run(np.concatenate(bursts))
    ends = np.cumsum([len(burst) for burst in bursts])
    features, reasons = feature_lists(values[ends - [len(burst) for burst in bursts]], errors)
    parts = iter(np.split(maps, ends[:-1]))
    changes = [None if error is not None else _finite_change(next(parts)) for error in errors]
    known = [None if reason is not None else found for found, reason in zip(changes, reasons, strict=True)]
    rows = np.array([found for found in known if found is not None], np.float32)
    return features, lists(rows.reshape(-1, maps.shape[2]), [found is None for found in known]), reasons


def _finite_change(maps: np.ndarray) -> np.ndarray | None:
    """Returns the change over a burst; None of a single picture, and if it is not finite."""
    found = change(maps) if len(maps) > 1 else None
    return found if found is not None and np.isfinite(found).all() else None


class _ReadAhead:
    """The same rows, which a thread reads up to `most` rows ahead, between `with` and its end."""

    def __init__(self, rows: Generator[dict[str, Any], None, None], *, most: int) -> None:
        self._rows = rows
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(most)
        self._stopped = threading.Event()
        self._has_ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Iterator[dict[str, Any]]:
        self._thread.start()
        return self._taken()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        pid = decoder().pid
        if not self._has_ended and pid is not None:  # the task ends early, and the thread may wait for a row
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._thread.join()
        self._rows.close()

    def _taken(self) -> Iterator[dict[str, Any]]:
        while True:
            row, error = self._ready.get()
            self._has_ended = row is _END
            if error is not None:
                raise error
            if row is _END:
                return
            yield row

    def _read(self) -> None:
        try:
            for row in self._rows:
                self._put(row)
                if self._stopped.is_set():
                    return
            self._put(_END)
        except BaseException as error:  # raised again where the rows are used
            self._put(_END, error)

    def _put(self, row: Any, error: BaseException | None = None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put((row, error), timeout=_POLL_S)
                return
