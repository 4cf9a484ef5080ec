"""`framewatch explore` on real Spark, over features whose clusters and outliers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from arrow_run import origin_of, write_batch

from framewatch.cli.main import main
from framewatch.tables.spark_tables import Tables

LENGTH, FRAMES = 32, 130
NORTH = [f"file:/cctv/north/{n}.mp4" for n in range(3)]
SOUTH = [f"file:/cctv/south/{n}.mp4" for n in range(3)]


@pytest.fixture(scope="module")
def output(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """North shows scenes 0 and 1, south scenes 2 and 3; once, north shows what only south does."""
    rng = np.random.default_rng(2)
    scenes = np.eye(4, LENGTH) * 3

    def frames(first: int, second: int) -> np.ndarray:
        which = np.where(np.arange(FRAMES) < 65, first, second)
        return np.abs(scenes[which] + 0.25 * rng.random((FRAMES, LENGTH)))

    videos = {video: frames(0, 1) for video in NORTH} | {video: frames(2, 3) for video in SOUTH}
    videos[NORTH[1]][100] = np.abs(scenes[2] + 0.25 * rng.random(LENGTH))
    videos[SOUTH[2]][10] = np.abs(5 * np.eye(1, LENGTH, 20)[0] + 0.1 * rng.random(LENGTH))
    videos[SOUTH[0]][30:40] = videos[SOUTH[0]][30]  # a picture that stands still
    path = tmp_path_factory.mktemp("explore") / "out"
    write_batch(path, 0, videos)
    its = ["explore.clusters=4", "explore.outliers=5", "index.still_cosine=0.9999", "catalog.enabled=false"]
    assert main(["explore", "--debug", str(path), *its]) == 0
    return path


def test_clusters_are_the_scenes_the_largest_first(spark, output: Path) -> None:
    tables = Tables(spark, str(output))
    clusters = tables.read("clusters").collect()
    assert len(clusters) == 4 and sum(row["num_frames"] for row in clusters) == 6 * FRAMES
    sizes = [row["num_frames"] for row in clusters]
    assert sizes == sorted(sizes, reverse=True)
    frames = {row["origin"]: row for row in tables.read("cluster_frames").collect()}
    for row in clusters:
        its = [frame for frame in frames.values() if frame["cluster"] == row["cluster"]]
        assert row["example"] == min(its, key=lambda it: (it["still"], it["distance"]))["origin"]
        assert row["num_videos"] == len({frame["video"] for frame in its})
        assert row["mean_prob2"] is None, "nothing was ranked"
    for videos in (NORTH, SOUTH):
        halves = [
            {
                frames[origin_of(video, second)]["cluster"]
                for video in videos
                for second in range(begin, begin + 9)
            }
            for begin in (50, 70)
        ]
        assert [len(half) for half in halves] == [1, 1] and halves[0] != halves[1]


def test_near_duplicates_are_marked(spark, output: Path) -> None:
    frames = Tables(spark, str(output)).read("cluster_frames")
    still = sorted(row["origin"] for row in frames.where("still").collect())
    assert still == [origin_of(SOUTH[0], second) for second in range(31, 40)]


def test_sizes_over_time_add_up(spark, output: Path) -> None:
    times = Tables(spark, str(output)).read("cluster_times").collect()
    assert sum(row["num_frames"] for row in times) == 6 * FRAMES
    assert {row["from_s"] for row in times} == {0, 60, 120}
    of_first = [row for row in times if row["video"] == NORTH[0] and row["from_s"] == 0]
    assert sorted(row["num_frames"] for row in of_first) == [60]


def test_outliers_are_unlike_their_own_camera(spark, output: Path) -> None:
    """What is usual in the south is none in the north."""
    rows = Tables(spark, str(output)).read("outliers").orderBy("rank").collect()
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert {rows[0]["origin"], rows[1]["origin"]} == {origin_of(NORTH[1], 100), origin_of(SOUTH[2], 10)}
    assert rows[1]["distance"] > 3 * rows[2]["distance"]
    assert [row["distance"] for row in rows] == sorted((row["distance"] for row in rows), reverse=True)


def test_manifest_and_bad_input(output: Path, tmp_path: Path, capsys) -> None:
    told = json.loads(max((output / "runs").glob("*-explore.json")).read_text())["report"]["explore"]
    assert (told["frames"], told["still"], told["clusters"], told["outliers"]) == (780, 9, 4, 5)
    assert main(["explore", str(output), "explore.clusters=1"]) == 2
    assert "explore.clusters=1 is not valid: give 2 or more" in capsys.readouterr().err
    assert main(["explore", str(tmp_path / "none")]) == 2
    assert "run `framewatch featurize` with this output first" in capsys.readouterr().err
