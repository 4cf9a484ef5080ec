"""Frames a second of `DeepImageFeaturizer`, against the recipe of Databricks' documentation.

The recipe is an iterator pandas UDF around Keras' `predict`; both sides read the same JPEG frames, on
`local[2]`, with the same weights. Prints each rate (median of the rounds) and their ratio.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch import DeepImageFeaturizer
from framewatch.featurizer.weights import resolve_weights
from framewatch.session import get_spark


def frames_of(directory: Path, limit: int) -> list[tuple[int, bytearray]]:
    """One JPEG a second from the videos below `directory`, through the decoder of the project."""
    from framewatch.images import encode_jpeg
    from framewatch.video.decoder import Decoding

    rows: list[tuple[int, bytearray]] = []
    for path in sorted(directory.rglob("*.mp*")):
        for frame in Decoding(str(path), fps=1).samples():
            rows.append((len(rows), bytearray(encode_jpeg(frame.image, quality=95))))
            if len(rows) == limit:
                return rows
    return rows


def documented_recipe(weights_path: str) -> Callable[[DataFrame], DataFrame]:
    """Features by an iterator pandas UDF: load the model, then `predict` on each batch."""

    @F.pandas_udf("array<float>")
    def featurize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        import keras

        model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
        model.load_weights(weights_path)
        for batch in batches:
            images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in batch]
            resized = np.stack([cv2.resize(image, (299, 299)) for image in images])
            scaled = keras.applications.inception_v3.preprocess_input(resized[..., ::-1].astype(np.float32))
            yield pd.Series(list(model.predict(scaled, verbose=0)))

    return lambda df: df.select("id", featurize("content").alias("features"))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, help="a directory of videos (default: drawn samples)")
    parser.add_argument("--weights", default="imagenet", help="as featurizer.weights (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=256, help="how many frames (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each side runs (default: %(default)s)"
    )
    args = parser.parse_args()
    spark = get_spark(master="local[2]")
    with tempfile.TemporaryDirectory() as directory:
        videos = args.videos
        if videos is None:
            from framewatch.samples import draw_samples

            draw_samples(directory)
            videos = Path(directory)
        rows = frames_of(videos, args.frames)
        df = spark.createDataFrame(rows, "id int, content binary").repartition(8).cache()
        df.count()
        found = resolve_weights(args.weights, "InceptionV3")
        ours = DeepImageFeaturizer(inputCol="content", outputCol="features", weights=args.weights)
        sides = {"recipe": documented_recipe(found.path), "framewatch": ours.transform}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for round_number in range(args.rounds + 1):  # the first round warms up
            for name, side in sides.items():
                started = time.perf_counter()
                side(df).write.format("noop").mode("overwrite").save()
                if round_number:
                    seconds[name].append(time.perf_counter() - started)
    rates = {name: len(rows) / statistics.median(times) for name, times in seconds.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:.1f} frames/s")
    print(f"framewatch / recipe: {rates['framewatch'] / rates['recipe']:.2f}")


if __name__ == "__main__":
    main()
