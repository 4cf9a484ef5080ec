"""Ray Data reads the frames, two actors run Keras. Prints one JSON line. Run by ../peers.py."""

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

os.environ.update(RAY_USAGE_STATS_ENABLED="0", TF_CPP_MIN_LOG_LEVEL="3")

import numpy as np
import ray


class Featurizer:
    """An actor: loads the network once."""

    def __init__(self, weights: str) -> None:
        import keras

        self.preprocess = keras.applications.inception_v3.preprocess_input
        self.model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
        self.model.load_weights(weights)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = self.preprocess(batch["frame"].astype(np.float32))
        return {
            "video": batch["path"],
            "second": np.rint([start for start, _ in batch["frame_timestamp"]]),
            "features": self.model.predict(images, verbose=0),
        }


def main() -> None:
    """Reads the job, runs it and prints."""
    job = json.loads(sys.argv[1])
    ray.init(num_cpus=job["cores"], include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    started = time.perf_counter()
    frames = ray.data.read_videos(
        job["videos"], fps=1, resize=(299, 299), include_paths=True, include_timestamps=True
    )
    # Half a core for each actor leaves one for the readers: with whole ones, nothing would be read.
    features = frames.map_batches(
        Featurizer, fn_constructor_args=[job["weights"]], batch_size=32, concurrency=2, num_cpus=0.5
    )
    features.write_parquet(str(Path(job["output"]) / "features"))
    seconds = time.perf_counter() - started
    names = ("ray", "decord", "tensorflow-cpu", "keras")
    versions = {name: importlib.metadata.version(name) for name in names}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()
