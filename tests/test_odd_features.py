"""Features that are not finite, zero or null; one frame, one video, no frame: stages go on, or say why."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType, StructField, StructType
from spark_run import IDENTITY, LENGTH, SCHEMA, SECONDS, labelled, make, usual

from framewatch.cli.main import main
from framewatch.ranking import labels, scores
from framewatch.ranking.classifier import train
from framewatch.tables.feature_files import FeatureFiles, vectors
from framewatch.tables.schema import METADATA_KEY, NOT_FINITE
from framewatch.tables.spark_tables import Tables

ODD = {
    0: [math.nan] + [1.0] * (LENGTH - 1),
    1: [math.inf] * LENGTH,
    2: [1.0] * (LENGTH - 1) + [-math.inf],
    3: [0.0] * LENGTH,
    4: None,
}
NOT_RANKED = {0, 1, 2, 4}


@pytest.fixture(scope="module")
def odd(spark, tmp_path_factory) -> Path:
    """An output whose videos begin with five odd frames each; trained and ranked."""
    output = tmp_path_factory.mktemp("odd") / "out"
    names = ["A", "B", "C"]
    make(
        spark,
        output,
        {n: [ODD.get(s, usual(s, seed)) if s in ODD else usual(s, seed) for s in range(SECONDS)]
         for seed, n in enumerate(names)},
    )  # fmt: skip
    arguments = [f"output={output}", "catalog.enabled=false", "evaluation.folds=2"]
    arguments += [f"labels.train={labelled(output.parent / 'labels.csv', names)}"]
    assert main(["train", "--debug", *arguments]) == 0
    assert main(["rank", "--debug", *arguments]) == 0
    return output


def second_of(origin: str) -> int:
    return int(origin.rpartition("frame")[2].removesuffix(".jpg"))


def test_reading_gives_nulls_with_a_reason(spark, odd: Path) -> None:
    tables = Tables(spark, str(odd))
    rows = {
        second_of(row["origin"]): row
        for row in tables.read("features").where("video like '%A.mp4'").collect()
    }
    assert {second for second, row in rows.items() if row["features"] is None} == NOT_RANKED
    assert {second for second, row in rows.items() if row["error"] == NOT_FINITE} == NOT_RANKED - {4}
    assert tables.read("features").schema["features"].metadata[METADATA_KEY] == IDENTITY
    files = FeatureFiles.of(str(odd))
    read = [vectors(batch["features"]) for path in files.paths for batch in files.read(path, ["features"])]
    assert sum(usable.sum() for _, usable in read) == 3 * (SECONDS - len(NOT_RANKED))
    assert all(np.isfinite(numbers).all() for numbers, _ in read)


def test_batches_with_and_without_reasons_are_one_table(spark, tmp_path: Path) -> None:
    tables = make(spark, tmp_path / "out", {"A": [usual(0, 0), ODD[0]]})
    schema = StructType([*SCHEMA.fields, StructField("error", StringType())])
    newer = spark.createDataFrame([("o", "v", 0, 0.0, None, "too large")], schema)
    tables.write_batch(newer, "features", 1)
    found = {row["error"] for row in tables.read("features").collect()}
    assert found == {None, NOT_FINITE, "too large"}


def test_nothing_odd_is_learned_from_or_ranked(spark, odd: Path) -> None:
    metrics = json.loads((odd / "model" / "metrics.json").read_text())
    assert metrics["labels"]["without_features"] == 3 * len(NOT_RANKED)
    predictions = Tables(spark, str(odd)).read("predictions")
    rows = predictions.orderBy("rank").collect()
    assert not {second_of(row["origin"]) for row in rows} & NOT_RANKED
    assert all(0 <= row["prob2"] <= 1 for row in rows)
    assert second_of(rows[0]["origin"]) >= SECONDS / 2


def test_the_functions_take_what_users_have(spark, odd: Path) -> None:
    """`fit` and `score` are given DataFrames that no table of ours has been."""
    rows = [(f"o{s}", "v", s, float(s), Vectors.dense(ODD[s] or [1.0] * LENGTH), float(s % 2)) for s in ODD]
    df = spark.createDataFrame(rows, StructType([*SCHEMA.fields, StructField("label", DoubleType())]))
    model = train(df, max_iter=2)
    assert np.isfinite(model.coefficients.toArray()).all() and math.isfinite(model.intercept)
    scored = scores.rank(scores.score(df, model)).collect()
    assert {row["origin"] for row in scored} == {"o3", "o4"} and all(row["prob2"] <= 1 for row in scored)


READERS = [
    ["explore", "OUT", "catalog.enabled=false", "explore.clusters=3"],
    ["index", "OUT"],
    ["search", "OUT", "--frame", "Aframe0007.jpg", "--json"],
    ["search", "OUT", "--clip", "A@5-9"],
    ["search", "OUT", "--frame", "Aframe0007.jpg", "--in", "A", "--json"],
    ["ask", "OUT", "--example", "Aframe0007.jpg", "--json"],
    ["classify", "OUT", "--classes", "CLASSES"],
    ["timeline", "A", "output=OUT"],
    ["report", "OUT"],
    ["rank", "output=OUT", "catalog.enabled=false", "classifier.path=MODEL"],
]


def run(command: list[str], output: Path, model: Path, capfd) -> tuple[int, str, str]:
    classes = output.parent / "classes.json"
    prompts = [{"name": "c", "prompts": [{"example": "Aframe0007.jpg"}]}]
    classes.write_text(json.dumps({"classes": prompts, "include_clips": True}))
    places = {"OUT": str(output), "CLASSES": str(classes), "MODEL": str(model)}
    for name, place in places.items():
        command = [part.replace(name, place) if part.endswith(name) else part for part in command]
    capfd.readouterr()
    code = main(command)
    printed = capfd.readouterr()
    return code, printed.out, printed.err


def test_every_stage_goes_on_with_odd_frames(odd: Path, capfd) -> None:
    for command in READERS[:-1]:
        code, out, err = run(command, odd, odd / "model", capfd)
        assert code == 0, (command, err)
        assert "nan" not in out.lower() and "inf" not in out.replace("info", "").lower(), command
    page = (odd / "report" / "index.html").read_text()
    assert "NaN" not in page.partition("<script")[0] and "Infinity" not in page.partition("<script")[0]


def test_a_frame_of_no_finite_features_is_no_example(odd: Path, capfd) -> None:
    for second in NOT_RANKED:
        code, _, err = run(["search", "OUT", "--frame", f"Aframe{second:04d}.jpg"], odd, odd / "model", capfd)
        assert code == 2 and "has no features" in err
    # Zeros are like nothing, unless the index compares frames with their mean.
    code, _, err = run(["search", "OUT", "--frame", "Aframe0003.jpg"], odd, odd / "model", capfd)
    assert code == 0 or "are all zeros" in err


def test_a_review_of_odd_frames_learns(odd: Path) -> None:
    pytest.importorskip("flask", reason="flask is missing: pip install 'framewatch[review]'")
    from framewatch.feedback import Verdict
    from framewatch.feedback.desk import Desk
    from framewatch.feedback.loop import LoopSettings

    desk = Desk(str(odd), LoopSettings(refit_every=1))
    moments = desk.moments
    for number, answer in ((0, "suspicious"), (len(moments) - 1, "not")):
        video, start_s = moments.names[moments.videos[number]], float(moments.starts_s[number])
        desk.judge(Verdict(video=video, start_s=start_s, end_s=start_s + 1, answer=answer, reviewer="ann"))
    desk.learn()
    assert np.isfinite(desk.queue.log_odds).all()


SMALL = {
    "one frame": {"A": [usual(7, 0)]},
    "one odd frame": {"A": [ODD[0]]},
    "one frame of zeros": {"A": [ODD[3]]},
    "one video": {"A": [usual(second, 0) for second in range(SECONDS)]},
    "nothing finite": {"A": [ODD[0], ODD[1], ODD[4]], "B": [ODD[2]]},
    "no frame": {"A": []},
}


@pytest.mark.parametrize("videos", SMALL.values(), ids=SMALL)
def test_every_stage_goes_on_or_says_why(videos: dict, spark, odd: Path, tmp_path: Path, capfd) -> None:
    output = tmp_path / "out"
    make(spark, output, videos)
    train = ["train", "output=OUT", f"labels.train={labelled(tmp_path / 'labels.csv', ['A'])}"]
    for command in [*READERS, train, *READERS]:
        code, out, err = run(command, output, odd / "model", capfd)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code in (0, 2) and len(lines) == (code == 2), (command, err)
        assert "Traceback" not in err and "NaN" not in out, command
    if "rank" in json.dumps(sorted(path.name for path in output.iterdir())):
        rows = Tables(spark, str(output)).read("predictions").where(F.isnan("prob2")).collect()
        assert rows == []


def test_labels_are_joined_to_frames_without_features(spark, odd: Path) -> None:
    joined, counts = labels.join_labels(
        Tables(spark, str(odd)).current("features"), labels.read_labels(spark, str(odd.parent / "labels.csv"))
    )
    assert counts.labelled_frames == joined.count() == 3 * SECONDS
