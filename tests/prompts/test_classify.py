"""`framewatch classify` and `ask` on real Spark, over features made up here, through the command line."""

import json
import re
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from conftest import ROOT
from featured import Frames, write_features
from pyspark.sql import SparkSession

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.prompts.classifications import read_found
from framewatch.prompts.compound_query import compound_sql
from framewatch.tables.spark_tables import Tables

# Two things, each of which two videos show for 8 s; the others show nothing.
VIDEOS = tuple(f"file:/{camera}/Cam{n}.mp4" for n in range(4) for camera in ("north", "south"))
FRAMES = Frames(VIDEOS, 40, 64, tuple((n, 20, 28, n // 2) for n in range(4)), strength=1.5)
SHOWN = {it: {VIDEOS[number] for number, _, _, direction in FRAMES.marks if direction == it} for it in (0, 1)}


def example(video: int, frame: int = 25) -> dict[str, str]:
    return {"example": f"{Path(VIDEOS[video]).parent.name}/{Path(FRAMES.origin(video, frame)).name}"}


def two_classes() -> dict:
    return {
        "classes": [
            {"name": "bag", "prompts": [example(0), example(1, 27)]},
            {"name": "fight", "prompts": [example(2), example(3)]},
        ]
    }


@pytest.fixture(scope="module")
def output(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classes") / "out"
    write_features(spark, path, FRAMES)
    return path


def run(output: Path, request: object, *options: str) -> int:
    file = output.parent / "classes.json"
    file.write_text(request if isinstance(request, str) else json.dumps(request))
    command = ["classify", str(output), "--classes", str(file), *options]
    return main([*command, "catalog.enabled=false"])


def schema(name: str) -> dict:
    return json.loads((ROOT / "docs" / "reference" / f"{name}.schema.json").read_text())


def test_each_video_has_the_class_that_it_shows(spark, output: Path, capsys) -> None:
    jsonschema.validate(two_classes(), schema("classes"))
    assert run(output, two_classes(), "--include-clips", "--min-duration-ratio", "0.15") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    jsonschema.validate(answer, schema("classifications"))
    given = {it["video_id"]: it["classes"][0] for it in answer["data"]}
    assert {video for video, its in given.items() if its["name"] == "bag"} == SHOWN[0]
    assert {video for video, its in given.items() if its["name"] == "fight"} == SHOWN[1]
    for its in given.values():
        assert its["duration_ratio"] == pytest.approx(0.2) and not its["calibrated"]
        assert {(clip["start"], clip["end"]) for clip in its["clips"]} == {(20, 28)}
        assert [clip["score"] for clip in its["clips"]] == sorted(
            (clip["score"] for clip in its["clips"]), reverse=True
        )
    assert re.search(r"4 prompts of 2 classes over 320 frames: \d+ clips, 4 videos with a class", printed.err)
    tables = Tables(spark, str(output))
    assert tables.read("classifications").count() == 4
    clips = tables.read("class_clips")
    named = {(row["class"], row["prompt"]) for row in clips.collect()}
    prompts = {(its["name"], one["example"]) for its in two_classes()["classes"] for one in its["prompts"]}
    assert {name for name, _ in named} == {"bag", "fight"} and named <= prompts
    assert not (output / "_staging" / "runs").exists()
    manifest = json.loads(max((output / "runs").glob("*-classify.json")).read_text())
    assert manifest["report"]["classify"]["prompts"] == 4
    clips.createOrReplaceTempView("class_clips")
    found = {row["video"] for row in spark.sql(compound_sql("bag and not fight")).collect()}
    assert found == SHOWN[0]
    spark.catalog.dropTempView("class_clips")


def test_pages_cover_all_results_once_and_compute_nothing_again(output: Path, capsys, monkeypatch) -> None:
    options = ("--min-duration-ratio", "0.15", "--page-limit", "3")
    assert run(output, two_classes(), *options) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["page_info"]["total_results"] == 4
    tables = sorted((path, path.stat().st_mtime_ns) for path in output.glob("class*/*.parquet"))
    assert run(output, two_classes(), *options, "--page-token", first["page_info"]["next_page_token"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert sorted((path, path.stat().st_mtime_ns) for path in output.glob("class*/*.parquet")) == tables
    assert second["page_info"]["next_page_token"] is None
    names = [it["video_id"] for page in (first, second) for it in page["data"]]
    assert len(names) == 4 and set(names) == SHOWN[0] | SHOWN[1]
    assert "clips" not in first["data"][0]["classes"][0]
    assert run(output, two_classes(), *options, "--page-token", "bm8") == 2
    assert "page token 'bm8' is not of these results" in capsys.readouterr().err


def test_labels_and_verdicts_calibrate(output: Path, tmp_path: Path, capsys) -> None:
    rows = "video,start_s,end_s,label\n"
    rows += "north/Cam0.mp4,0,20,0\nnorth/Cam0.mp4,20,28,1\nsouth/Cam3.mp4,0,40,0\n"
    (tmp_path / "labels.csv").write_text(rows)
    request = two_classes()
    request["classes"][0]["labels"] = str(tmp_path / "labels.csv")
    request["classes"][1]["labels"] = "verdicts"
    log = VerdictLog(str(output))
    for start_s, end_s, said in ((0, 20, "not"), (20, 28, "suspicious")):
        log.append(Verdict(video=VIDEOS[2], start_s=start_s, end_s=end_s, answer=said, reviewer="ann"))
    jsonschema.validate(request, schema("classes"))
    assert run(output, request, "--min-duration-ratio", "0") == 0
    capsys.readouterr()
    found = {(it.video, its.name): its for it in read_found(str(output)) for its in it.classes}
    assert all(its.calibrated for its in found.values())
    for thing, name in ((0, "bag"), (1, "fight")):
        for video in SHOWN[thing]:
            assert found[video, name].duration_ratio == pytest.approx(0.2, abs=0.03)
            assert 30 < found[video, name].score < 60  # 8 of the better 20 frames show it
    thresholds = json.loads((output / "classification.json").read_text())["thresholds"]
    assert thresholds.keys() == {"bag", "fight"} and all(5 < it < 95 for it in thresholds.values())


def test_labels_of_an_example_s_own_video_are_left_out(output: Path, tmp_path: Path, capsys) -> None:
    rows = "video,start_s,end_s,label\nsouth/Cam0.mp4,0,20,0\nsouth/Cam0.mp4,20,28,1\n"
    wrong = "north/Cam0.mp4,0,20,1\nnorth/Cam0.mp4,20,28,0\n"
    (tmp_path / "labels.csv").write_text(rows + wrong)
    bag = {"name": "bag", "prompts": [example(0)], "labels": str(tmp_path / "labels.csv")}
    assert run(output, {"classes": [bag]}, "--min-duration-ratio", "0") == 0
    assert "videos of its own examples" not in capsys.readouterr().err
    found = {it.video: it.classes[0] for it in read_found(str(output))}
    assert all(found[video].duration_ratio == pytest.approx(0.2, abs=0.03) for video in SHOWN[0])
    assert found[VIDEOS[1]].calibrated and found[VIDEOS[1]].clips[0].clip.score > 75


def test_ask_says_whether_when_first_and_how_long(output: Path, capsys) -> None:
    shown = example(0)["example"]
    before = sorted(output.glob("class*"))
    assert main(["ask", str(output), "--example", shown, "--example", example(1)["example"]]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"yes, in \d of 8 videos", said[0])
    assert "Cam0.mp4: yes, first at 0:20, 8.0 s in all" in said
    assert main(["ask", str(output), "--example", shown, "--video", "north/Cam3"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Cam3.mp4: no"]
    assert main(["ask", str(output), "--example", shown, "--video", "south/Cam0", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.validate(answer, schema("classifications"))
    assert [it["video_id"] for it in answer["data"]] == ["file:/south/Cam0.mp4"]
    assert sorted(output.glob("class*")) == before


BAD = {
    "{": "is not valid JSON",
    '{"klasses": []}': "unknown key 'klasses': did you mean 'classes'?",
    '{"classes": []}': "no classes are asked for",
    '{"classes": [{"name": "bag", "prompts": []}]}': "class 'bag' has no prompts",
    '{"classes": [{"name": "bag", "prompts": ["a"]}], "threshold": 101}': "threshold=101 is not valid",
    '{"classes": [{"name": "bag", "prompts": ["lying"]}]}': "text prompt 'lying' needs CLIP features",
    '{"classes": [{"name": "bag", "prompts": [{"example": "x.jpg"}]}]}': "example 'x.jpg' is no frame with",
    '{"classes": [{"name": "bag", "prompts": [{"example": "Cam0frame0001.jpg"}]}]}': "several frames",
    '{"classes": [{"name": "bag", "prompts": [{"image": "nowhere.jpg"}]}]}': "image 'nowhere.jpg' cannot be",
    '{"classes": [{"name": "b", "prompts": [{"image": "README.md"}]}]}': "image 'README.md' cannot be used",
}


@pytest.mark.parametrize("request_text", BAD)
def test_bad_input_is_one_line(output: Path, request_text: str, capsys) -> None:
    assert run(output, request_text) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and BAD[request_text] in said[0]


def test_bad_options_are_one_line(output: Path, tmp_path: Path, capsys) -> None:
    for command, told in [
        (["classify", str(output), "--classes", "nowhere.json"], "--classes nowhere.json does not exist"),
        (["ask", str(output)], "nothing is asked for"),
        (["ask", str(output), "--example", "x.jpg", "--video", "Cam9"], "no video 'Cam9' is in the ledger"),
        (
            ["ask", str(tmp_path / "none"), "--example", "x.jpg"],
            "run `framewatch featurize` with this output",
        ),
    ]:
        assert main(command) == 2
        assert told in capsys.readouterr().err
    assert run(output, two_classes(), "--threshold", "-1") == 2
    assert "threshold=-1 is not valid" in capsys.readouterr().err
    assert run(output, two_classes(), "--page-limit", "0") == 2
    assert run(output, two_classes(), "--min-duration-ratio", "2") == 2
    assert "classes.min_duration_ratio=2.0 is not valid" in capsys.readouterr().err


def test_a_picture_of_one_s_own_is_a_prompt(spark, model_file: Path, tmp_path: Path, capsys) -> None:
    """Through the network that made the features, which must be the same file."""
    from framewatch import DeepImageFeaturizer

    featurizer = DeepImageFeaturizer(
        inputCol="content", outputCol="f", modelName=str(model_file), layer="late"
    )
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    spec = featurizer.feature_spec()
    write_features(spark, tmp_path / "out", Frames(VIDEOS, 10, 4), spec.identity())
    request = {"classes": [{"name": "own", "prompts": [{"image": str(tmp_path / "photo.png")}]}]}
    common = [f"featurizer.model={model_file}", "featurizer.layer=late"]
    assert run(tmp_path / "out", request, *common) == 0
    assert json.loads(capsys.readouterr().out)["page_info"]["limit_per_page"] == 10
    assert run(tmp_path / "out", request) == 2
    assert "the features were computed with the model file own.keras" in capsys.readouterr().err
