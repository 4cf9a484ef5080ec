"""What there is in the footage: clusters of frames, and the frames unlike anything usual for their camera."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.ml.clustering import KMeans
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.search.moment_vectors import still_frames
from framewatch.search.source import Known, SourceVideo, read_video_frames
from framewatch.tables.feature_files import FeatureFiles, camera, unit
from framewatch.tables.schema import CLUSTER_FRAMES, CLUSTER_TIMES, CLUSTERS, OUTLIERS

_TIME_S = 60.0
_COMPARED = (
    "origin string, video string, camera string, timestamp_s double, still boolean, cosines array<float>"
)


@dataclass(frozen=True)
class ExploreSettings:
    """How the footage is explored.

    Attributes:
        clusters: how many.
        sample: frames that they are fitted to, at most.
        usual_share: a cluster is usual for a camera that has at least this share of its frames in it.
        outliers: how many frames are listed.
        still_cosine: a frame at least so similar to the last one shown is a near-duplicate.
        seed: of the first centres and the sample.
    """

    clusters: int = 12
    sample: int = 50_000
    usual_share: float = 0.02
    outliers: int = 100
    still_cosine: float = 0.99
    seed: int = 7


@dataclass(frozen=True)
class _Read:
    """Rows of `id`, numbers of videos -> their frames' vectors of length 1, near-duplicates marked."""

    features: FeatureFiles
    videos: Sequence[SourceVideo]
    still_cosine: float

    def frames(
        self, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[tuple[SourceVideo, list[str], np.ndarray, np.ndarray, np.ndarray]]:
        for batch in batches:
            for number in batch["id"].to_pylist():
                its = read_video_frames(self.features, self.videos[number], Known({}, {}, {}))
                usable = its.vectors.any(axis=1)  # zeros point nowhere: a cosine with them is undefined
                if usable.any():
                    vectors = its.vectors[usable]
                    origins = [its.origins[row] for row in np.flatnonzero(usable)]
                    still = still_frames(vectors, self.still_cosine)
                    yield self.videos[number], origins, its.times_s[usable], still, vectors


@dataclass(frozen=True)
class _Vectors(_Read):
    """The vectors of frames that are no near-duplicates."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _, _, _, still, vectors in self.frames(batches):
            yield pa.RecordBatch.from_arrays([_lists(vectors[~still])], names=["values"])


@dataclass(frozen=True)
class _Compare(_Read):
    """Each frame's cosine with each centre, by one matrix product a video."""

    centres: np.ndarray

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for video, origins, times_s, still, vectors in self.frames(batches):
            cosines = vectors @ self.centres.T
            count = len(origins)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(origins),
                    pa.array([video.uri] * count),
                    pa.array([camera(video.uri)] * count),
                    pa.array(times_s),
                    pa.array(still),
                    _lists(cosines),
                ],
                names=["origin", "video", "camera", "timestamp_s", "still", "cosines"],
            )


def _lists(rows: np.ndarray) -> pa.Array:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel(), pa.float32()))


def compare_clusters(
    spark: SparkSession, features: FeatureFiles, videos: Sequence[SourceVideo], settings: ExploreSettings
) -> DataFrame:
    """Fits clusters, by Spark's k-means on vectors of length 1, and compares each frame with each centre.

    Args:
        spark: the session.
        features: of the run.
        videos: to read.
        settings: how.

    Returns:
        `origin`, `video`, `camera`, `timestamp_s`, `still`, and `cosines` with the centres. Frames without
        features, or with nothing but zeros, are left out.

    Raises:
        InputError: no frame is left.
    """
    ids = spark.range(0, len(videos), 1, max(1, min(len(videos), 64)))
    read = _Vectors(features, videos, settings.still_cosine)
    vectors = ids.mapInArrow(read, "values array<float>").cache()
    num_vectors = vectors.count()
    if not num_vectors:
        raise InputError(f"no frame in {features.directory} has features to compare: extract more videos")
    share = min(1.0, settings.sample / num_vectors)
    rows = vectors.sample(fraction=share, seed=settings.seed) if share < 1 else vectors
    k_means = KMeans(k=settings.clusters, seed=settings.seed, maxIter=20, distanceMeasure="cosine")
    model = k_means.fit(rows.select(array_to_vector(F.col("values")).alias("features")))
    vectors.unpersist()
    centres = unit(np.stack([np.asarray(it, np.float32) for it in model.clusterCenters()]))
    return ids.mapInArrow(_Compare(features, videos, settings.still_cosine, centres), _COMPARED)


def cluster_frames(compared: DataFrame) -> DataFrame:
    """The `cluster_frames` table: each frame's cluster, its distance from the centre, whether it is still."""
    best = F.array_max("cosines")
    cluster = (F.array_position("cosines", best) - 1).cast("int")
    rows = compared.withColumn("cluster", cluster).withColumn("distance", (1 - best).cast("double"))
    return rows.select(*CLUSTER_FRAMES.names)


def clusters_of(frames: DataFrame, probabilities: DataFrame | None) -> DataFrame:
    """The `clusters` table, the largest first.

    Args:
        frames: the `cluster_frames` table.
        probabilities: `origin` and `prob2` of what was ranked; None where nothing was.
    """
    with_prob2 = frames.withColumn("prob2", F.lit(None).cast("double"))
    if probabilities is not None:
        with_prob2 = frames.join(probabilities.select("origin", "prob2"), "origin", "left")
    nearest = F.struct("still", "distance", "origin", "video", "timestamp_s")  # a still one only if need be
    found = with_prob2.groupBy("cluster").agg(
        F.count("*").alias("num_frames"),
        F.sum(F.when(F.col("still"), 1).otherwise(0)).alias("num_still"),
        F.count_distinct("video").alias("num_videos"),
        F.avg("prob2").alias("mean_prob2"),
        F.min(nearest).alias("nearest"),
    )
    example = {"example": "origin", "example_video": "video", "example_s": "timestamp_s"}
    for name, its in example.items():
        found = found.withColumn(name, F.col("nearest")[its])
    return found.orderBy(F.desc("num_frames"), "cluster").select(*CLUSTERS.names)


def times_of(frames: DataFrame) -> DataFrame:
    """The `cluster_times` table: how many frames of each cluster each minute of each video has."""
    from_s = F.floor(F.col("timestamp_s") / _TIME_S) * _TIME_S
    counted = frames.groupBy("video", from_s.cast("double").alias("from_s"), "cluster")
    return counted.agg(F.count("*").alias("num_frames")).select(*CLUSTER_TIMES.names)


@dataclass(frozen=True)
class _Farthest:
    """Adds how far each frame is from the nearest usual cluster of its camera."""

    usual: Mapping[str, Sequence[int]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            cosines = batch["cosines"].flatten().to_numpy().reshape(batch.num_rows, -1)
            distances = np.empty(batch.num_rows)
            cameras = np.array(batch["camera"].to_pylist(), object)
            for name in set(cameras):
                its = cameras == name
                distances[its] = 1 - cosines[its][:, list(self.usual[name])].max(axis=1)
            names = ["origin", "video", "timestamp_s"]
            yield pa.RecordBatch.from_arrays(
                [*(batch[it] for it in names), pa.array(distances)], names=[*names, "distance"]
            )


def outliers_of(compared: DataFrame, frames: DataFrame, settings: ExploreSettings) -> DataFrame:
    """The `outliers` table: the frames farthest from anything usual for their camera, still ones left out.

    Args:
        compared: what `compare` gave, read back.
        frames: the `cluster_frames` table.
        settings: what is usual, and how many are listed.
    """
    usual = _usual(frames, settings.usual_share)
    shown = compared.where(~F.col("still")).select("origin", "video", "camera", "timestamp_s", "cosines")
    far = shown.mapInArrow(
        _Farthest(usual), "origin string, video string, timestamp_s double, distance double"
    )
    order = Window.partitionBy(F.lit(1)).orderBy(F.desc("distance"), "origin")
    best = far.orderBy(F.desc("distance"), "origin").limit(settings.outliers)
    return best.withColumn("rank", F.row_number().over(order)).select(*OUTLIERS.names)


def _usual(frames: DataFrame, share: float) -> dict[str, list[int]]:
    counts: dict[str, dict[int, int]] = {}
    by_video = frames.groupBy("video", "cluster").agg(F.count("*").alias("num_frames"))
    for row in by_video.collect():
        its = counts.setdefault(camera(row["video"]), {})
        its[row["cluster"]] = its.get(row["cluster"], 0) + row["num_frames"]
    return {
        name: [it for it, count in its.items() if count >= share * sum(its.values())]
        or [max(its, key=lambda it: its[it])]
        for name, its in counts.items()
    }
