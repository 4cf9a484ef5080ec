"""Daft reads the frames, a class UDF runs Keras. Prints one JSON line. Run by ../peers.py."""

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

os.environ.update(DO_NOT_TRACK="true", DAFT_PROGRESS_BAR="0", TF_CPP_MIN_LOG_LEVEL="3")

import daft
import numpy as np
from daft import DataType

SIZE = 299


@daft.cls(max_concurrency=2)
class Featurizer:
    """Loads the network once in each of its workers."""

    def __init__(self, weights: str) -> None:
        import keras

        self.preprocess = keras.applications.inception_v3.preprocess_input
        self.model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
        self.model.load_weights(weights)

    @daft.method.batch(return_dtype=DataType.embedding(DataType.float32(), 2048), batch_size=32)
    def featurize(self, images: daft.Series) -> list[np.ndarray]:
        pixels = np.stack(images.to_pylist()).astype(np.float32)
        # `predict` makes a dataset, which mostly crashes TensorFlow in a thread of Daft.
        return list(self.model.predict_on_batch(self.preprocess(pixels)))


def main() -> None:
    """Reads the job, runs it and prints."""
    job = json.loads(sys.argv[1])
    daft.set_runner_native()
    started = time.perf_counter()
    featurizer = Featurizer(job["weights"])
    # A query for each file: one query of several files blocks forever on two cores (Daft 0.7), each of its
    # two threads opening a file, which waits for a thread.
    for number, video in enumerate(sorted(Path(job["videos"]).glob("*.mp4"))):
        frames = daft.read_video_frames(
            str(video), image_height=SIZE, image_width=SIZE, sample_interval_seconds=1.0
        )
        features = frames.select(
            frames["path"].alias("video"),
            frames["frame_time"].alias("second"),
            featurizer.featurize(frames["data"]).alias("features"),
        )
        features.write_parquet(str(Path(job["output"]) / "features" / str(number)))
    seconds = time.perf_counter() - started
    versions = {name: importlib.metadata.version(name) for name in ("daft", "av", "tensorflow-cpu", "keras")}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()
