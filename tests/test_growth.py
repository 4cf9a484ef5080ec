"""Incremental runs: records of file contents, cached scores, and compaction of small batches."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as F
from spark_run import IDENTITY, SECONDS, labelled, make, usual

from framewatch.cli.main import main
from framewatch.ranking import candidates, scores
from framewatch.search.source import read_indexed_videos
from framewatch.tables import contents
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.frame_pictures import Pictures
from framewatch.tables.results import Results
from framewatch.tables.schema import METADATA_KEY
from framewatch.tables.spark_tables import Tables

Rows = Mapping[str, Sequence[list[float] | None]]


def add(tables: Tables, videos: Rows, batch: int, *, size_bytes: int = 1) -> None:
    """Adds a batch as `ingest` does."""
    spark, ledger, frames, features = tables.spark, [], [], []
    for name, its in videos.items():
        video = f"file:/cctv/{name}.mp4"
        ledger.append(
            {"video": video, "name": name, "status": "ok", "num_frames": len(its), "modified_ms": 1}
            | {"duration_s": float(len(its)), "size_bytes": size_bytes, "attempts": 1}
        )
        for second, numbers in enumerate(its):
            key = (f"/cctv/images/{name}frame{second:04d}.jpg", video, second, float(second))
            frames.append((*key, 16, 16, f"{name} {second}".encode()))
            features.append((*key, numbers, None if numbers else "damaged"))
    common = "origin string, video string, frame_index int, timestamp_s double"
    rows = spark.createDataFrame(frames, f"{common}, width int, height int, content binary")
    tables.write_batch(rows, "frames", batch)
    rows = spark.createDataFrame(features, f"{common}, features array<float>, error string")
    tables.write_batch(rows.withMetadata("features", {METADATA_KEY: IDENTITY}), "features", batch)
    tables.write_ledger(ledger, batch)


def rows_of(tables: Tables, table: str) -> list[tuple]:
    df = tables.ledger() if table == "videos" else tables.current(table)
    return sorted(tuple(row) for row in df.drop("batch", "modified_at").collect())


def ranked(output: Path) -> list[tuple]:
    """All that `rank` has written."""
    results = Results(str(output))
    return [
        sorted(
            tuple(str(value) for value in row.values())
            for row in results.dataset(table).to_table().to_pylist()
        )
        for table in ("predictions", "incidents", "candidates")
    ]


def written(output: Path, batch: int) -> dict[str, int]:
    """The files of a batch of `scores`, with their times."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in (output / "scores" / f"batch={batch}").glob("*.parquet")
    }


@pytest.fixture(scope="module")
def trained(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three batches; the last has a video of the first again, of another size. A classifier is trained."""
    output = tmp_path_factory.mktemp("grown") / "out"
    tables = Tables(spark, str(output))
    videos = {name: [usual(second, seed) for second in range(SECONDS)] for seed, name in enumerate("abcde")}
    add(tables, {name: videos[name] for name in "ab"}, 0)
    add(tables, {"c": [*videos["c"][:-1], None]}, 1)
    add(tables, {"a": videos["e"][:-2]}, 2, size_bytes=2)
    labels = labelled(output.parent / "labels.csv", ["b", "c"])
    assert main(["train", f"labels.train={labels}", *settings(output)]) == 0
    return output


@pytest.fixture
def grown(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "out")
    return tmp_path / "out"


def settings(output: Path) -> list[str]:
    return [f"output={output}", "catalog.enabled=false", "ranking.show=0", "evaluation.folds=0"]


@pytest.mark.parametrize("many", [False, True])
def test_one_more_video_is_scored_alone_and_ranked_as_if_all_were(
    many: bool, spark, grown: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if many:  # as with millions of frames
        monkeypatch.setattr(scores, "_FRAMES_PER_RANGE", 10)
        monkeypatch.setattr("framewatch.pipeline.incident_tables._MANY_FRAMES", 0)
    assert main(["rank", *settings(grown)]) == 0
    before = {batch: written(grown, batch) for batch in range(3)}
    assert all(before.values())
    tables = Tables(spark, str(grown))
    add(tables, {"d": [usual(second, 7) for second in range(SECONDS)], "b": [usual(0, 8)] * 3}, 3)
    capsys.readouterr()
    assert main(["rank", *settings(grown)]) == 0
    # a: 10 frames, b: 3, c: 11 with features, d: 12
    assert "rank: 36 frames" in capsys.readouterr().out
    assert {batch: written(grown, batch) for batch in range(3)} == before and written(grown, 3)
    of_both = ranked(grown)
    tables.delete("scores", "candidates")
    assert main(["rank", *settings(grown)]) == 0
    assert ranked(grown) == of_both
    again = labelled(grown.parent / "labels.csv", ["b", "c", "d"])
    assert main(["train", f"labels.train={again}", *settings(grown)]) == 0
    assert main(["rank", *settings(grown)]) == 0
    assert all(written(grown, batch) != times for batch, times in before.items())


def test_ranks_of_several_ranges_are_those_of_one(spark) -> None:
    random = np.random.default_rng(0)
    of = random.choice([0.0, 0.1, 0.5, 0.5, 0.9, 1.0], 200)
    of[:100] = random.random(100)
    rows = [
        (f"o{n:03d}", f"v{n % 7}", n, float(n), [1 - float(p), float(p)], float(p), 0.0)
        for n, p in enumerate(of)
    ]
    columns = "origin string, video string, frame_index int, timestamp_s double, probability array<double>, "
    df = spark.createDataFrame(rows, columns + "prob2 double, prediction double")
    from pyspark.ml.functions import array_to_vector

    df = df.withColumn("probability", array_to_vector("probability"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "_FRAMES_PER_RANGE", 30)
        several = scores.rank(df, num_frames=200).collect()
    one = scores.rank(df).collect()
    assert sorted(row["rank"] for row in several) == list(range(1, 201))
    assert {row["origin"]: row["rank"] for row in several} == {row["origin"]: row["rank"] for row in one}


def test_joined_batches_have_the_same_rows(spark, grown: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["rank", *settings(grown)]) == 0
    tables = Tables(spark, str(grown))
    before = {table: rows_of(tables, table) for table in ("videos", "frames", "features", "scores")}
    indexed = read_indexed_videos(str(grown), FeatureFiles.of(str(grown)), settings="")
    pictures, origin = Pictures(Results(str(grown))), "/cctv/images/bframe0003.jpg"
    assert pictures.get(origin) == b"b 3"
    capsys.readouterr()
    assert main(["compact", str(grown)]) == 0
    out = capsys.readouterr().out
    assert "compact: 3 batches became 1" in out, out  # the first was moved as `a` has changed
    assert {table: rows_of(tables, table) for table in before} == before
    assert tables.batches().counted == [4]
    assert sorted(path.name for path in (grown / "features").iterdir()) == ["batch=4"]
    assert pictures.get(origin) == b"b 3"
    after = read_indexed_videos(str(grown), FeatureFiles.of(str(grown)), settings="")
    assert [(video.uri, video.version, video.values) for video in after] == [
        (video.uri, video.version, video.values) for video in indexed
    ]
    scored = written(grown, 4)
    assert main(["rank", *settings(grown)]) == 0
    assert written(grown, 4) == scored
    assert main(["compact", str(grown)]) == 0
    assert "compact: nothing to join" in capsys.readouterr().out


def test_a_killed_compaction_loses_and_repeats_nothing(
    spark, grown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(spark, str(grown))
    before = {table: rows_of(tables, table) for table in ("videos", "frames", "features")}
    for place in ("write_ledger_rows", "_delete_committed"):
        with monkeypatch.context() as patch:

            def killed(*_: object) -> None:
                raise KeyboardInterrupt

            if place == "_delete_committed":
                patch.setattr(Tables, place, killed)
            else:
                write = Tables.write_batch
                patch.setattr(
                    Tables,
                    "write_batch",
                    lambda self, df, table, batch, write=write: (
                        killed() if table == "videos" else write(self, df, table, batch)
                    ),
                )
            with pytest.raises(KeyboardInterrupt):
                tables.compact()
        assert {table: rows_of(tables, table) for table in before} == before
    tables.delete_leftovers()
    tables.compact()
    assert {table: rows_of(tables, table) for table in before} == before
    assert len(tables.batches().counted) == 1


def test_records_say_what_the_files_hold(spark, grown: Path) -> None:
    tables, batches = Tables(spark, str(grown)), [0, 1, 2]
    for table in ("frames", "features"):
        recorded = contents.read(str(grown), table, batches)
        contents.forget(str(grown), table)
        order = [(name, "ascending") for name in ("batch", "file", "video", "error")]
        counted = contents.read(str(grown), table, batches, keep=True)
        assert counted.sort_by(order) == recorded.sort_by(order)
    held = tables.contents("features")
    found: Counter[tuple[str, str | None]] = Counter()
    for row in held.to_pylist():
        found[Path(row["video"]).stem, row["error"]] += row["num_frames"]
    assert found == {
        ("a", None): SECONDS - 2, ("b", None): SECONDS, ("c", None): SECONDS - 1, ("c", "damaged"): 1,
    }  # fmt: skip
    assert (grown / "contents" / "batch=0" / "features.parquet").exists()  # counted once


def test_outputs_of_older_versions_are_counted(spark, tmp_path: Path) -> None:
    bad = [[float("nan")] * 8, None]
    tables = make(spark, tmp_path / "out", {"a": [*(usual(second, 0) for second in range(3)), *bad]})
    counts: Counter[str | None] = Counter()
    for row in tables.contents("features").to_pylist():
        counts[row["error"]] += row["num_frames"]
    assert counts == {None: 3, "damaged": 1, "not finite": 1}
    assert tables.batches_without_features() == {}


def test_candidates_are_chosen_without_features(spark, grown: Path) -> None:
    assert main(["rank", *settings(grown)]) == 0
    tables = Tables(spark, str(grown))
    chosen = candidates.choose_candidates(
        tables.read("predictions"), tables.read("incidents"), most=2, period_s=1.0, draw="x"
    )
    assert "features" not in chosen.columns
    rows = candidates.with_features(chosen, tables.current("features"))
    assert rows.where(F.size("features") != 8).isEmpty() and rows.count() == chosen.count()
