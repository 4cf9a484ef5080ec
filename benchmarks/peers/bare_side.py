"""A loop without Spark, one process a core. Prints one JSON line. Run by ../peers.py.

Each process grabs the frames of its videos with OpenCV, decodes one a second, resizes it, runs OpenVINO on
batches of 32, and writes a Parquet file.
"""

import importlib.metadata
import itertools
import json
import multiprocessing
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 32


def frames(videos: list[str]) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yields video, second and pixels of one frame a second."""
    for video in videos:
        capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        rate = round(capture.get(cv2.CAP_PROP_FPS))
        number = 0
        while capture.grab():
            if number % rate == 0:
                image = capture.retrieve()[1]
                yield video, number // rate, cv2.resize(image, (299, 299), interpolation=cv2.INTER_AREA)
            number += 1


def compiled(path: str, precision: str) -> Any:
    """Loads the network for one thread."""
    core = openvino.Core()
    with zipfile.ZipFile(path) as archive:
        model = core.read_model(archive.read("model.xml"), archive.read("model.bin"))
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # would hold both processes to the first core
    }
    return core.compile_model(model, "CPU", settings)


def work(videos: list[str], network: str, precision: str, target: str) -> None:
    """Writes the features of some videos."""
    cv2.setNumThreads(1)
    model, columns = compiled(network, precision), (pa.string(), pa.float64(), pa.list_(pa.float32()))
    schema = pa.schema(list(zip(("video", "second", "features"), columns, strict=True)))
    source = frames(videos)
    with pq.ParquetWriter(target, schema) as writer:
        while batch := list(itertools.islice(source, BATCH)):
            names, seconds, images = zip(*batch, strict=True)
            features = list(model(np.stack(images))[0])
            rows = {"video": names, "second": seconds, "features": features}
            writer.write_table(pa.table(rows, schema=schema))


def main() -> None:
    """Reads the job, runs it and prints."""
    job = json.loads(sys.argv[1])
    started = time.perf_counter()
    videos = [str(path) for path in sorted(Path(job["videos"]).iterdir())]
    directory, cores = Path(job["output"]) / "features", job["cores"]
    directory.mkdir()
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=work,
            args=(videos[n::cores], job["network"], job["inference_precision"], f"{directory}/{n}.parquet"),
        )
        for n in range(cores)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("a worker failed")
    seconds = time.perf_counter() - started
    names = ("openvino", "opencv-python-headless", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in names}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()
