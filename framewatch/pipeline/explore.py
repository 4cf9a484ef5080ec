"""Explores the footage: `features` -> clusters, their size over time, outliers and near-duplicates."""

import time

from framewatch.io import storage
from framewatch.pipeline.run import Run
from framewatch.pipeline.sql import register_for_sql
from framewatch.report import write_report
from framewatch.search import clusters
from framewatch.spark.task_progress import task_progress
from framewatch.tables import catalog
from framewatch.tables.feature_files import FeatureFiles


def explore(run: Run) -> None:
    """Writes `clusters`, `cluster_frames`, `cluster_times` and `outliers`, and updates the report.

    Raises:
        InputError: there are no features.
    """
    started = time.monotonic()
    tables, config = run.tables, run.config.explore
    settings = clusters.ExploreSettings(
        clusters=config.clusters,
        usual_share=config.usual_share,
        outliers=config.outliers,
        still_cosine=run.config.index.still_cosine,
    )
    features = FeatureFiles.of(tables.output)
    held = tables.contents("features")
    num_frames = sum(held["num_frames"].to_pylist())
    with task_progress(run.spark, "explore"):
        compared = tables.stage(
            clusters.compare_clusters(run.spark, features, num_frames, settings), "compared"
        )
        tables.replace(clusters.cluster_frames(compared), "cluster_frames")
        frames = tables.read("cluster_frames")
        ranked = tables.read("predictions") if tables.exists("predictions") else None
        tables.replace(clusters.clusters_of(frames, ranked).coalesce(1), "clusters")
        tables.replace(clusters.times_of(frames).coalesce(1), "cluster_times")
        tables.replace(clusters.outliers_of(compared, frames, settings).coalesce(1), "outliers")
    tables.delete_staged("compared")
    rows = tables.read("clusters").collect()
    counts = {
        "clusters": len(rows),
        "frames": sum(row["num_frames"] for row in rows),
        "left_out": num_frames - sum(row["num_frames"] for row in rows),
        "still": sum(row["num_still"] for row in rows),
        "outliers": tables.read("outliers").count(),
    }
    registered = register_for_sql(run)
    catalog.write_duckdb(tables)
    seconds = round(time.monotonic() - started, 1)
    text = (
        f"{counts['frames']} frames, {counts['still']} of them near-duplicates, in {counts['clusters']} "
        f"clusters; {counts['outliers']} outliers, in {seconds} s"
    )
    if counts["left_out"]:
        text += f"; {counts['left_out']} frames have no features, or only zeros"
    run.summarize("explore", text, **counts, registered=registered, seconds=seconds)
    if ranked is not None:
        run.summarize("explore", f"report: {write_report(run.config.output)}")
    else:
        run.summarize("explore", f"tables: {storage.join(tables.output, '{clusters,outliers}')}")
