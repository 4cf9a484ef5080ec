"""Frames a second of `DeepImageFeaturizer`, against the documented recipe and against a bare loop.

Measured in one run, on the same JPEG frames, with the same weights, the sides taking turns:

(a) the recipe of Databricks' documentation: an iterator pandas UDF, Keras' `predict`, float32, `local[2]`;
(b) a bare loop in one process, without Spark, on both cores, decoding included, for each precision;
(c) framewatch on `local[2]`, for each precision.

Prints each rate (median of the rounds), the ratios c/a and c/b, and how well the features agree.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch import DeepImageFeaturizer
from framewatch.io.images import decode_image, encode_jpeg, resize
from framewatch.models import conversion
from framewatch.models.openvino_networks import inference_precision, read_converted
from framewatch.models.spec import FeatureSpec
from framewatch.spark.session import get_spark
from framewatch.video.decoder import Decoding

CAVIAR = Path(__file__).resolve().parents[2] / "shared" / "caviar" / "videos"
CORES = 2
PRECISIONS = ("float32", "bfloat16", "int8")
BATCH = 32

# Runs over all frames, or, told so, over a few of them.
Side = Callable[[bool], object]


def frames_of(directory: Path, limit: int) -> list[bytes]:
    """`limit` JPEGs, one a second from the videos below `directory`; repeated where they are too few."""
    frames: list[bytes] = []
    for path in sorted(directory.rglob("*.mp*")):
        frames += [encode_jpeg(frame.image, quality=95) for frame in Decoding(str(path), fps=1).samples()]
    return [frames[n % len(frames)] for n in range(limit)]


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


class BareLoop:
    """Decode, resize and infer in one process, on both cores; the next batch is decoded meanwhile."""

    def __init__(self, spec: FeatureSpec, frames: list[bytes]) -> None:
        self.spec, self.frames = spec, frames

    def __call__(self, warming: bool) -> np.ndarray:
        if warming:  # loaded in its turn only: the other loops' threads would be in its way
            self.compiled = self._compile()
            return self._run(self.frames[:BATCH])
        features = self._run(self.frames)
        del self.compiled
        return features

    def _compile(self) -> Any:
        core = openvino.Core()
        assert self.spec.converted is not None
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": CORES,
            "INFERENCE_PRECISION_HINT": inference_precision(self.spec.precision),
        }
        return core.compile_model(read_converted(self.spec.converted.path, core), "CPU", hints)

    def _run(self, frames: list[bytes]) -> np.ndarray:
        requests = [self.compiled.create_infer_request() for _ in range(CORES)]
        results: list[np.ndarray] = []
        starts = range(0, len(frames), BATCH)
        for number, start in enumerate(starts):
            images = [decode_image(data) for data in frames[start : start + BATCH]]
            resized = np.stack([resize(image, 299) for image in images if image is not None])
            request = requests[number % CORES]
            if number >= CORES:
                results.append(_finished(request))
            request.start_async({0: resized})
        for number in range(max(0, len(starts) - CORES), len(starts)):
            results.append(_finished(requests[number % CORES]))
        return np.concatenate(results)


def _finished(request: Any) -> np.ndarray:
    request.wait()
    return request.get_output_tensor(0).data.copy()


def featurizers(weights: str) -> dict[str, DeepImageFeaturizer]:
    """One for each precision; the int8 network must be there."""
    common = DeepImageFeaturizer(
        inputCol="content", outputCol="features", weights=weights, engine="openvino", batchSize=BATCH
    )
    return {precision: common.copy().setPrecision(precision) for precision in PRECISIONS}


def quantize(featurizer: DeepImageFeaturizer, frames: list[bytes]) -> None:
    """Makes the int8 network where there is none, from every other frame."""
    network = featurizer.network()
    if not conversion.converted_path(network, "int8").is_file():
        source = conversion.convert(network, network.weights.path)
        images = [resize(image, 299) for image in map(decode_image, frames) if image is not None]
        conversion.quantize_network(network, source, np.stack(images[0:400:2]), np.stack(images[1:401:20]))


def rates(sides: dict[str, Side], num_frames: int, rounds: int) -> dict[str, float]:
    """Frames a second of each side: the median of `rounds`, the sides taking turns.

    Each turn begins with a few frames that are not measured: a worker keeps no more than two networks, and
    Spark ends workers that idle for a minute, so it loads what the turn needs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            side(True)
            started = time.perf_counter()
            side(False)
            seconds[name].append(time.perf_counter() - started)
    return {name: num_frames / statistics.median(times) for name, times in seconds.items()}


def vectors(df: DataFrame) -> np.ndarray:
    """The features in order of id, (n, features)."""
    return np.stack([np.asarray(row["features"]) for row in df.orderBy("id").collect()])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows."""
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def machine() -> str:
    """The processor, and what it computes with."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = next(
        (line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?"
    )
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_int8") if flag in info]
    return f"{name}, {info.count('processor')} cores, {' '.join(flags)}"


def measure(
    spark: SparkSession, frames: list[bytes], weights: str, rounds: int, tasks: int, with_recipe: bool
) -> None:
    """Measures all sides and prints."""
    rows = [(number, bytearray(data)) for number, data in enumerate(frames)]
    df = spark.createDataFrame(rows, "id int, content binary").repartition(tasks).cache()
    few = spark.createDataFrame(rows[: CORES * BATCH], df.schema).repartition(CORES).cache()
    print(f"{df.count()} frames in {tasks} tasks, {rounds} rounds; warming up with {few.count()}")
    ours = featurizers(weights)
    quantize(ours["float32"], frames)
    specs = {precision: featurizer.feature_spec() for precision, featurizer in ours.items()}
    recipe = documented_recipe(specs["float32"].network.weights.path)

    def spark_side(transform: Callable[[DataFrame], DataFrame]) -> Side:
        return lambda warming: transform(few if warming else df).write.format("noop").mode("overwrite").save()

    sides: dict[str, Side] = {"a: recipe, float32": spark_side(recipe)} if with_recipe else {}
    for precision in PRECISIONS:
        sides[f"b: bare loop, {precision}"] = BareLoop(specs[precision], frames)
        sides[f"c: framewatch, {precision}"] = spark_side(ours[precision].transform)
    measured = rates(sides, len(frames), rounds)
    wanted = vectors(recipe_features(df, specs["float32"]))
    print(machine())
    print(f"{'side':26} {'frames/s':>8} {'c / a':>6} {'c / b':>6} {'cosine, least':>13} {'mean':>8}")
    recipe_rate = measured.get("a: recipe, float32", float("nan"))
    for name, rate in measured.items():
        line = f"{name:26} {rate:8.1f}"
        if name.startswith("c"):
            precision = name.split(", ")[1]
            against = cosines(vectors(ours[precision].transform(df)), wanted)
            line += f" {rate / recipe_rate:6.2f} {rate / measured[f'b: bare loop, {precision}']:6.2f}"
            line += f" {against.min():13.6f} {against.mean():8.6f}"
        print(line)


def recipe_features(df: DataFrame, spec: FeatureSpec) -> DataFrame:
    """Plain Keras on the same pixels as framewatch: its own resize, Keras' preprocessing and `predict`."""
    path = spec.network.weights.path

    def featurize(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import keras

        model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
        model.load_weights(path)
        for batch in batches:
            images = np.stack([resize(decode_image(data), 299) for data in batch["content"]])
            scaled = keras.applications.inception_v3.preprocess_input(images[..., ::-1].astype(np.float32))
            yield pd.DataFrame({"id": batch["id"], "features": list(model.predict(scaled, verbose=0))})

    return df.mapInPandas(featurize, "id int, features array<float>")


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--videos", type=Path, help="a directory of videos (default: ../shared/caviar, else drawn samples)"
    )
    parser.add_argument("--weights", default="auto", help="as featurizer.weights (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=512, help="how many frames (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each side runs (default: %(default)s)"
    )
    parser.add_argument("--tasks", type=int, default=8, help="Spark tasks they lie in (default: %(default)s)")
    parser.add_argument("--without-recipe", action="store_true", help="leave the slow side (a) out")
    args = parser.parse_args()
    videos = args.videos or (CAVIAR if CAVIAR.is_dir() else None)
    with tempfile.TemporaryDirectory() as directory:
        if videos is None:
            from framewatch.samples import draw_samples

            draw_samples(directory)
            videos = Path(directory)
        measure(
            get_spark(master=f"local[{CORES}]"),
            frames_of(videos, args.frames),
            args.weights,
            args.rounds,
            args.tasks,
            not args.without_recipe,
        )


if __name__ == "__main__":
    main()
