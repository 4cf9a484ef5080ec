"""Clusters the frames, and finds frames unlike anything usual for their camera."""

from dataclasses import dataclass

import numpy as np
from pyspark.ml.clustering import KMeans
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.models.similarity import Similarity, unit
from framewatch.search.cluster_tasks import (
    COMPARED,
    DISTANCES,
    VECTORS,
    CompareFrames,
    FindFarthest,
    ReadVectors,
)
from framewatch.tables.feature_files import FeatureFiles, camera
from framewatch.tables.feature_lookup import read_background
from framewatch.tables.schema import CLUSTER_FRAMES, CLUSTER_TIMES, CLUSTERS, OUTLIERS, from_arrow

_TIME_S = 60.0
_TASKS = 64
# Frames and files that the similarity is fitted to.
_FITTED_FRAMES, _FITTED_FILES = 4000, 64


@dataclass(frozen=True)
class ExploreSettings:
    """Settings of clusters and outliers.

    Attributes:
        clusters: number of clusters.
        sample: maximum number of frames to fit the clusters to.
        usual_share: a cluster is usual for a camera if it has at least this share of the camera's frames.
        outliers: number of outliers to list.
        still_cosine: a frame is a near-duplicate if its cosine with the last frame that is not one reaches
            this.
        seed: random seed of the initial centres and of the sample.
    """

    clusters: int = 12
    sample: int = 50_000
    usual_share: float = 0.02
    outliers: int = 100
    still_cosine: float = 0.99
    seed: int = 7


def compare_clusters(
    spark: SparkSession, features: FeatureFiles, num_frames: int, settings: ExploreSettings
) -> DataFrame:
    """Fits clusters with Spark's k-means on vectors of similarity, and compares each frame with each centre.

    Args:
        spark: the session.
        features: the files of `features`.
        num_frames: number of frames with features. Of many, k-means sees the frames of every n-th row group.
        settings: settings of the clusters.

    Returns:
        Rows of `origin`, `video`, `camera`, `timestamp_s`, `still`, and `cosines`, one per centre. Frames
        without features, or with only zeros, are left out.

    Raises:
        InputError: no frame has features.
    """
    # Neighbouring files are read by one task, so that a video that goes on in the next file is seen to.
    rows = list(enumerate(features.paths))
    num_tasks = max(1, min(len(rows), _TASKS))
    paths = spark.createDataFrame(rows, "id long, path string").repartitionByRange(num_tasks, "id")
    paths = paths.sortWithinPartitions("id")
    similarity = Similarity.fit(
        *read_background(features, most=_FITTED_FRAMES, files=_FITTED_FILES), centre="footage"
    )
    mine, every = features.for_workers(), max(1, num_frames // settings.sample)
    read = ReadVectors(mine, settings.still_cosine, similarity, every)
    vectors = paths.mapInArrow(read, from_arrow(VECTORS)).cache()
    num_vectors = vectors.count()
    if not num_vectors:
        raise InputError(f"no frame in {features.directory} has features to compare: extract more videos")
    share = min(1.0, settings.sample / num_vectors)
    rows_of = vectors.sample(fraction=share, seed=settings.seed) if share < 1 else vectors
    k_means = KMeans(k=settings.clusters, seed=settings.seed, maxIter=20, distanceMeasure="cosine")
    model = k_means.fit(rows_of.select(array_to_vector(F.col("values")).alias("features")))
    vectors.unpersist()
    centres = unit(np.stack([np.asarray(centre, np.float32) for centre in model.clusterCenters()]))
    compare = CompareFrames(mine, settings.still_cosine, similarity, centres=centres)
    return paths.mapInArrow(compare, from_arrow(COMPARED))


def cluster_frames(compared: DataFrame) -> DataFrame:
    """Returns the `cluster_frames` table: each frame's cluster, distance from its centre, and `still`."""
    best = F.array_max("cosines")
    cluster = (F.array_position("cosines", best) - 1).cast("int")
    rows = compared.withColumn("cluster", cluster).withColumn("distance", (1 - best).cast("double"))
    return rows.select(*CLUSTER_FRAMES.names)


def clusters_of(frames: DataFrame, probabilities: DataFrame | None) -> DataFrame:
    """Returns the `clusters` table, the largest first.

    Args:
        frames: the `cluster_frames` table.
        probabilities: `origin` and `prob2` of ranked frames; None if no frames have been ranked.
    """
    with_prob2 = frames.withColumn("prob2", F.lit(None).cast("double"))
    if probabilities is not None:
        with_prob2 = frames.join(probabilities.select("origin", "prob2"), "origin", "left")
    nearest = F.struct(
        "still", "distance", "origin", "video", "timestamp_s"
    )  # a near-duplicate only if there is no other frame
    found = with_prob2.groupBy("cluster").agg(
        F.count("*").alias("num_frames"),
        F.sum(F.when(F.col("still"), 1).otherwise(0)).alias("num_still"),
        F.count_distinct("video").alias("num_videos"),
        F.avg("prob2").alias("mean_prob2"),
        F.min(nearest).alias("nearest"),
    )
    example = {"example": "origin", "example_video": "video", "example_s": "timestamp_s"}
    for name, column in example.items():
        found = found.withColumn(name, F.col("nearest")[column])
    return found.orderBy(F.desc("num_frames"), "cluster").select(*CLUSTERS.names)


def times_of(frames: DataFrame) -> DataFrame:
    """Returns the `cluster_times` table: the number of frames per cluster in each minute of each video."""
    from_s = F.floor(F.col("timestamp_s") / _TIME_S) * _TIME_S
    counted = frames.groupBy("video", from_s.cast("double").alias("from_s"), "cluster")
    return counted.agg(F.count("*").alias("num_frames")).select(*CLUSTER_TIMES.names)


def outliers_of(compared: DataFrame, frames: DataFrame, settings: ExploreSettings) -> DataFrame:
    """Returns the `outliers` table: the frames farthest from all usual clusters, without near-duplicates.

    Args:
        compared: the result of `compare_clusters`.
        frames: the `cluster_frames` table.
        settings: the share that makes a cluster usual, and the number of outliers.
    """
    usual = _usual(frames, settings.usual_share)
    shown = compared.where(~F.col("still")).select("origin", "video", "camera", "timestamp_s", "cosines")
    far = shown.mapInArrow(FindFarthest(usual), from_arrow(DISTANCES))
    order = Window.partitionBy(F.lit(1)).orderBy(F.desc("distance"), "origin")
    best = far.orderBy(F.desc("distance"), "origin").limit(settings.outliers)
    return best.withColumn("rank", F.row_number().over(order)).select(*OUTLIERS.names)


def _usual(frames: DataFrame, share: float) -> dict[str, list[int]]:
    counts: dict[str, dict[int, int]] = {}
    by_video = frames.groupBy("video", "cluster").agg(F.count("*").alias("num_frames"))
    for row in by_video.collect():
        by_cluster = counts.setdefault(camera(row["video"]), {})
        by_cluster[row["cluster"]] = by_cluster.get(row["cluster"], 0) + row["num_frames"]
    return {
        name: [cluster for cluster, count in by_cluster.items() if count >= share * sum(by_cluster.values())]
        or [max(by_cluster, key=lambda it: by_cluster[it])]
        for name, by_cluster in counts.items()
    }
