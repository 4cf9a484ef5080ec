"""The whole job through its public face: the command line, on real videos and a real network."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import contents
from outputs import set_file
from pyspark.sql import SparkSession

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.feedback.export import labels_csv
from framewatch.tables import saved_model
from framewatch.tables.spark_tables import Tables


@pytest.fixture(scope="module")
def arguments(labelled: list[str], clips: Path, model_file: Path) -> list[str]:
    """Overrides for a run over the small clips; the output comes last."""
    return [
        *labelled,
        f"videos.train={clips}/train/*.mpg",
        f"featurizer.model={model_file}",
        "featurizer.layer=late",
        "catalog.enabled=false",
        "extract.videos_per_batch=2",
        "evaluation.precision_at=[1, 2]",
        "ranking.show=2",
        "classifier.max_iter=5",
        "evaluation.folds=2",
    ]


@pytest.fixture(scope="module")
def finished(spark: SparkSession, arguments: list[str], tmp_path_factory) -> Path:
    """The output of one undisturbed run."""
    output = tmp_path_factory.mktemp("finished") / "out"
    assert main(["run", "--debug", *arguments, f"output={output}"]) == 0
    return output


def manifests(output: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((output / "runs").iterdir())]


def test_tables_model_and_manifest(spark, finished: Path) -> None:
    tables = Tables(spark, str(finished))
    assert tables.read("frames").count() == 16
    assert tables.read("features").where("features is not null").count() == 16
    predictions = tables.read("predictions").orderBy("rank").collect()
    assert [
        row["origin"].removeprefix(f"{finished}/images/")
        for row in sorted(predictions, key=lambda r: r.origin)
    ] == [f"Box9frame000{k}.jpg" for k in range(4)]
    assert [row["rank"] for row in predictions] == [1, 2, 3, 4]
    ledger = {row["video"].rsplit("/", 1)[-1]: row for row in tables.read("videos").collect()}
    assert set(ledger) == {"Box1.mpg", "Box2.mpg", "Box3.mpg", "Box9.mp4"}
    assert {row["batch"] for row in ledger.values()} == {0, 1}
    notes = json.loads((finished / "model" / "metrics.json").read_text())
    assert (notes["labels"]["labelled_frames"], notes["labels"]["suspicious_frames"]) == (12, 6)
    assert notes["labels"]["unlabelled_frames"] == 4
    assert notes["cross_validation"]["frames"] == 12
    assert notes["test"]["frames"] == 4
    assert notes["features"]["weights_sha256"] in (finished / "model" / "model_card.md").read_text()
    manifest = manifests(finished)[0]
    assert manifest["status"] == "ok"
    assert manifest["config"]["extract"]["videos_per_batch"] == 2
    assert len(manifest["config_sha256"]) == 64
    assert manifest["report"]["ingest"]["weights_sha256"] == notes["features"]["weights_sha256"]
    assert not (finished / "_staging").exists()


def test_the_output_is_for_the_user_alone(finished: Path) -> None:
    assert [path for path in [finished, *finished.rglob("*")] if path.stat().st_mode & 0o077] == []


def test_nothing_new_means_that_nothing_is_read(spark, finished, arguments, capsys) -> None:
    before = contents(spark, finished)
    files = {
        path: path.stat().st_mtime_ns
        for name in ("frames", "features")
        for path in (finished / name).rglob("*")
    }
    saved = ["labels.train=null", f"classifier.path={finished}/model"]  # training again would take longest
    assert main(["run", "--debug", *arguments, *saved, f"output={finished}"]) == 0
    said = capsys.readouterr().out
    assert "ingest: nothing new: the ledger has all 4 videos" in said
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert contents(spark, finished) == before


def test_a_new_video_adds_only_its_own_work(
    spark, arguments, clips, make_video, tmp_path: Path, capsys
) -> None:
    videos = tmp_path / "videos"
    make_video(videos / "A1.mpg", seconds=2)
    common = [*arguments, f"videos.train={videos}", "videos.test=[]", f"output={tmp_path}/out"]
    for stage in ("extract", "featurize"):
        assert main([stage, "--debug", *common]) == 0
    make_video(videos / "A2.mpg", seconds=3)
    capsys.readouterr()
    for stage in ("extract", "featurize"):
        assert main([stage, "--debug", *common]) == 0
    said = capsys.readouterr().out
    assert "extract: 1 videos (1 ok, 0 partial, 0 failed), 3 frames" in said
    assert "featurize: 3 frames in" in said
    tables = Tables(spark, f"{tmp_path}/out")
    assert [row["batch"] for row in tables.read("videos").orderBy("video").collect()] == [0, 1]
    assert tables.current("features").count() == 5


def test_a_changed_video_replaces_its_rows(spark, arguments, make_video, tmp_path: Path, capsys) -> None:
    """Its batch has another video too, whose rows stay, and are not made again."""
    output, videos = tmp_path / "out", tmp_path / "videos"
    make_video(videos / "A1.mpg", seconds=2)
    make_video(videos / "A2.mpg", seconds=3)
    common = [*arguments, f"videos.train={videos}", "videos.test=[]", f"output={output}"]
    assert main(["extract", "--debug", *common]) == 0
    assert main(["featurize", "--debug", *common]) == 0
    shutil.copytree(output, tmp_path / "before")
    make_video(videos / "A1.mpg", seconds=4)
    assert main(["extract", "--debug", *common]) == 0
    capsys.readouterr()
    assert main(["featurize", "--debug", *common]) == 0
    assert "featurize: 4 frames in" in capsys.readouterr().out
    tables = Tables(spark, str(output))
    counts = {row["video"][-6:]: row["num_frames"] for row in tables.read("videos").collect()}
    assert counts == {"A1.mpg": 4, "A2.mpg": 3}
    assert {name: tables.read(name).count() for name in ("frames", "features")} == {
        "frames": 7,
        "features": 7,
    }
    # As if killed before the old batch was removed.
    for name in ("videos", "frames", "features"):
        shutil.copytree(tmp_path / "before" / name / "batch=0", output / name / "batch=0")
    assert main(["extract", "--debug", *common]) == 0
    assert not (output / "frames" / "batch=0").exists()
    assert {name: tables.read(name).count() for name in ("frames", "features")} == {
        "frames": 7,
        "features": 7,
    }


def test_what_a_killed_run_left_goes_away(spark, finished, arguments) -> None:
    before = contents(spark, finished)
    for name in ("frames", "features"):
        shutil.copytree(finished / name / "batch=0", finished / name / "batch=9")
    (finished / "_staging" / "ingest_9").mkdir(parents=True)
    assert Tables(spark, str(finished)).read("frames").count() > 16
    assert main(["ingest", "--debug", *arguments, f"output={finished}"]) == 0
    assert Tables(spark, str(finished)).read("frames").count() == 16
    assert not (finished / "_staging").exists()
    assert contents(spark, finished) == before


def test_new_videos_are_ranked_by_a_saved_classifier(
    spark, finished, arguments, clips, tmp_path, capsys
) -> None:
    network = [argument for argument in arguments if argument.startswith("featurizer.")]
    command = [
        *network,
        f"videos.test={clips}/test",
        f"classifier.path={finished}/model",
        f"output={tmp_path}/new",
    ]
    assert main(["run", "--debug", *command]) == 0
    assert "train:" not in capsys.readouterr().out
    first, second = (
        [(row["rank"], row["frame_index"]) for row in Tables(spark, str(out)).read("predictions").collect()]
        for out in (finished, tmp_path / "new")
    )
    assert sorted(first) == sorted(second)


def test_sql_as_the_reviewer_writes_it(spark, arguments, finished) -> None:
    assert main(["rank", "--debug", *arguments, "catalog.enabled=true", f"output={finished}"]) == 0
    query = "select origin, probability, prob2, prediction from predictions"
    query += " where prediction = 1 order by prob2 desc"
    expected = (
        Tables(spark, str(finished)).read("predictions").where("prediction = 1").orderBy("rank").collect()
    )
    assert [row["origin"] for row in spark.sql(query).collect()] == [row["origin"] for row in expected]
    assert spark.sql("select count(*) from frames").first()[0] == 16
    assert spark.sql("select status, count(*) from videos group by status").collect() == [("ok", 4)]
    assert spark.sql("select batch from features").distinct().count() == 2


def test_incidents_and_the_timeline_of_a_video(spark, arguments, finished: Path, capsys) -> None:
    """The test clip has a red box from its second 2 on, to the end of its 4 s."""
    command = [*arguments, f"output={finished}", "ranking.threshold=0", "catalog.enabled=true"]
    assert main(["rank", "--debug", *command]) == 0
    assert "4 predicted suspicious (above 0), 1 incidents" in capsys.readouterr().out
    [incident] = spark.sql("select * from incidents").collect()
    frames = Tables(spark, str(finished)).read("predictions").orderBy("rank").collect()
    assert (incident["start_s"], incident["end_s"], incident["num_frames"]) == (0.0, 4.0, 4)
    assert (incident["peak_origin"], incident["peak_prob2"]) == (frames[0]["origin"], frames[0]["prob2"])
    assert main(["timeline", "Box9", f"output={finished}"]) == 0
    said = capsys.readouterr().out
    assert "Box9.mp4: suspicious, first at 0:00; 1 incident, 4.0 s in all, 100% of 0:04" in said
    assert main(["timeline", "Box1", f"output={finished}"]) == 0
    assert "Box1.mpg: no frame of it was ranked" in capsys.readouterr().out


def test_the_threshold_from_left_out_videos(spark, arguments, finished: Path, capsys) -> None:
    curve = json.loads((finished / "model" / "metrics.json").read_text())["cross_validation"]["curve"]
    command = [*arguments, f"output={finished}", "ranking.threshold=auto", "ranking.recall=1"]
    command.append("catalog.enabled=true")
    assert main(["rank", "--debug", *command]) == 0
    assert "for a recall of 1 on left-out videos" in capsys.readouterr().out
    threshold = json.loads((finished / "ranking.json").read_text())["threshold"]
    assert threshold < min(point["threshold"] for point in curve if point["recall"] < 1)
    rows = spark.sql("select prob2, prediction from predictions").collect()
    assert all((row["prob2"] > threshold) == (row["prediction"] == 1) for row in rows)


def test_train_with_verdicts(spark, arguments, finished: Path, clips: Path, tmp_path: Path, capsys) -> None:
    """Verdicts replace hand labels of the same frames, and count more. Exported, they are labels."""
    output = tmp_path / "out"
    shutil.copytree(finished, output)
    command = [*arguments, f"output={output}", "labels.test=null"]
    assert main(["train", "--with-verdicts", *command]) == 2
    assert "there are no verdicts in" in capsys.readouterr().err
    uris = {row["video"][-8:]: row["video"] for row in Tables(spark, str(output)).read("videos").collect()}
    log = VerdictLog(str(output))
    for name, start_s, end_s, answer in (
        ("Box9.mp4", 0, 2, "not"), ("Box9.mp4", 2, 4, "suspicious"), ("Box1.mpg", 0, 1, "suspicious"),
        ("Box2.mpg", 0, 1, "unsure"),
    ):  # fmt: skip
        video = uris[name]
        log.append(Verdict(video=video, start_s=start_s, end_s=end_s, answer=answer, reviewer="ann"))
    assert main(["train", "--with-verdicts", "--debug", *command]) == 0
    notes = json.loads((output / "model" / "metrics.json").read_text())["labels"]
    assert (notes["verdicts"], notes["labelled_frames"], notes["suspicious_frames"]) == (3, 16, 9)
    labelled = spark.read.parquet(saved_model.require_model(f"{output}/model").labelled_path).collect()
    weights = {(row["video"][-8:], row["timestamp_s"]): (row["label"], row["weight"]) for row in labelled}
    assert weights["Box9.mp4", 3.0] == (1.0, 4.0)
    assert weights["Box1.mpg", 0.0] == (1.0, 4.0), "the label was 0"
    assert weights["Box2.mpg", 0.0] == (0.0, 1.0), "who is unsure changes nothing"
    assert "3 time ranges from reviewers' verdicts" in (output / "model" / "model_card.md").read_text()
    test_video = uris["Box9.mp4"]
    row = next(row for row in Tables(spark, str(output)).ledger().collect() if row["video"] == test_video)
    set_file(output, test_video, row["size_bytes"] + 1, row["modified_ms"])
    assert main(["train", "--with-verdicts", "--debug", *command, "evaluation.folds=0"]) == 0
    assert "set aside: 2 verdicts on 1 video" in capsys.readouterr().out
    notes = json.loads((output / "model" / "metrics.json").read_text())["labels"]
    assert (notes["verdicts"], notes["labelled_frames"]) == (1, 12), "Box9's have another file"
    set_file(output, test_video, row["size_bytes"], row["modified_ms"])
    exported = tmp_path / "verdicts.csv"
    exported.write_text(labels_csv(log.verdicts()))
    assert main(["train", "--debug", *command, f"labels.train={exported}", "evaluation.folds=0"]) == 0
    notes = json.loads((output / "model" / "metrics.json").read_text())["labels"]
    assert (notes["labelled_frames"], notes["suspicious_frames"], notes["unmatched"]) == (5, 3, 0)
    # What the classifier has learned from is no test.
    assert main(["train", "--with-verdicts", "--debug", *command, "evaluation.folds=0"]) == 0
    capsys.readouterr()
    assert main(["rank", "--debug", *command, f"labels.test={clips}/labels_test.csv"]) == 0
    assert "left out are 1 videos of groups that the classifier learned from" in capsys.readouterr().out
    assert not (output / "test_metrics.json").exists()


def test_the_page_opens_what_rank_wrote(arguments, finished: Path) -> None:
    from framewatch.feedback.desk import Desk
    from framewatch.feedback.loop import LoopSettings

    assert main(["rank", "--debug", *arguments, f"output={finished}", "ranking.threshold=0.5"]) == 0
    desk = Desk(str(finished), LoopSettings())
    rows = desk.results.read("incidents", ["start_s", "end_s", "rank"]).sort_by("rank").to_pylist()
    num = desk.moments.num_incidents
    assert [row["start_s"] for row in rows] == desk.moments.starts_s[:num].tolist()
    inside = sum(int(row["end_s"] - row["start_s"]) for row in rows)
    assert len(desk.moments) - num == desk.results.ranking["frames_outside_incidents"] == 4 - inside
    assert sorted(desk.moments.audit) == list(range(num, len(desk.moments)))
    for moment in desk.queue.moments.tolist():
        video = desk.moments.names[desk.moments.videos[moment]]
        desk.judge(
            Verdict(
                video=video,
                start_s=float(desk.moments.starts_s[moment]),
                end_s=float(desk.moments.ends_s[moment]),
                answer="suspicious" if desk.moments.starts_s[moment] >= 2 else "not",
                reviewer="ann",
            )
        )
    desk.learn()
    assert desk.queue.num_verdicts == len(desk.moments) and len(desk.queue.moments) == 0
    assert desk.missed().estimate == 0
    shutil.rmtree(finished / "verdicts")


@pytest.mark.parametrize(
    ("video", "output", "says"),
    [
        ("Box", "finished", "no video 'Box' is in the ledger: it has file:"),
        ("Box9", "/nowhere", "run `framewatch rank` with output=/nowhere first"),
    ],
)
def test_timelines_that_are_not_there(finished, capsys, video: str, output: str, says: str) -> None:
    assert main(["timeline", video, f"output={finished if output == 'finished' else output}"]) == 2
    assert says in capsys.readouterr().err


def test_a_named_catalog_keeps_tables_of_its_own(spark, arguments, finished) -> None:
    named = ["catalog.enabled=true", "catalog.name=spark_catalog", "catalog.database=reviewers"]
    assert main(["rank", "--debug", *arguments, *named, f"output={finished}"]) == 0
    assert spark.sql("select count(*) from spark_catalog.reviewers.predictions").first()[0] == 4
    assert {row["tableName"] for row in spark.sql("show tables in reviewers").collect()} == {
        "predictions",
        "incidents",
        "videos",
        "top_frames",
        "top_incidents",
        "video_summary",
        "failed_videos",
    }
    spark.sql("drop database reviewers cascade")


OTHER_VERBS = ("samples", "timeline", "report", "review", "weights")
BAD = [
    (["videos.train=nowhere/*.mpg"], "no video matches 'nowhere/*.mpg'"),
    (["videos.train=[]"], "videos.train is not set"),
    (["labels.train=nope.csv"], "labels file 'nope.csv' does not exist"),
    (["labels.train=null"], "labels.train is not set"),
    (["labels.train=setup.py"], "it must have ImageName,label or video,start_s,end_s,label"),
    (["output=/proc/nope"], "output=/proc/nope cannot be written"),
    (
        ["featurizer.model=InceptionV3", "featurizer.layer=null", "featurizer.weights=nope.h5"],
        "weights 'nope.h5' were not found",
    ),
    (["featurizer.model=Nope"], "featurizer.model=Nope is not valid: choose one of InceptionV3, Xception"),
    (["sampling.fps=2"], "were taken with fps=1.0, keep=thumbnails, this run asks for fps=2.0"),
    (["featurizer.pooling=max"], "pooling is avg in the features in"),
    (["classifier.path=/nowhere", "labels.train=null"], "there is no classifier in /nowhere"),
    (["sampling.fsp=2"], "did you mean sampling.fps?"),
    (["--config", "nope.yaml"], "--config nope.yaml does not exist"),
]


@pytest.mark.parametrize(("bad", "says"), BAD, ids=[" ".join(bad) for bad, _ in BAD])
def test_bad_input_is_one_line_and_a_non_zero_exit(finished, arguments, capsys, bad, says) -> None:
    assert main(["run", *arguments, f"output={finished}", *bad]) == 2
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert last.startswith("error: ") and says in last
    assert "Traceback" not in captured.err + captured.out


def test_debug_shows_the_trace(finished, arguments, capsys) -> None:
    assert main(["run", "--debug", *arguments, f"output={finished}", "videos.train=nowhere/*.mpg"]) == 2
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "no video matches 'nowhere/*.mpg'" in printed.splitlines()[-1]


def test_quantize_then_featurize_in_int8(
    spark, clips, model_file: Path, small_weights, tmp_path, capsys
) -> None:
    """A model of one's own all the way: int8 asked for too early, made, reported, used, and told of."""
    common = [f"videos.train={clips}/train", f"output={tmp_path}/out", f"featurizer.model={model_file}"]
    common += ["featurizer.layer=late", f"labels.train={clips}/labels_train.csv", "evaluation.folds=2"]
    assert main(["quantize", *common]) == 2
    assert "run `framewatch extract` with this output first" in capsys.readouterr().err
    assert main(["extract", *common]) == 0
    assert main(["featurize", *common, "featurizer.precision=int8"]) == 2
    assert "there is no int8 version of own.keras" in capsys.readouterr().err
    assert main(["featurize", *common, "featurizer.precision=float32"]) == 0
    assert main(["train", *common]) == 0
    assert main(["quantize", *common]) == 0
    report = json.loads((tmp_path / "out" / "quantization.json").read_text())
    assert (report["calibration_frames"], report["compared_frames"]) == (6, 6)
    assert 0.9 < report["cosine_min"] <= report["cosine_mean"] <= 1
    assert 0.5 < report["ranking_spearman"] <= 1
    capsys.readouterr()
    assert main(["featurize", *common, "featurizer.precision=int8"]) == 2
    assert "precision is float32 in the features in" in capsys.readouterr().err
    assert main(["featurize", *common, "features.precision=half"]) == 2
    assert "are stored as single: set features.precision=single" in capsys.readouterr().err
    anew = ["featurizer.precision=int8", "features.precision=half", "featurizer.mode=overwrite"]
    assert main(["featurize", *common, *anew]) == 0
    features = Tables(spark, f"{tmp_path}/out").read("features")
    told = features.schema["features"].metadata["framewatch"]
    assert (told["precision"], told["quantized_sha256"]) == ("int8", report["int8"]["sha256"])
    assert told["stored"] == "half"
    assert features.where("features is not null").count() == 12


def test_a_picture_that_cannot_be_decoded_is_kept_counted_and_left_out(
    spark, clips, model_file: Path, tmp_path, capsys
) -> None:
    output = tmp_path / "out"
    common = [f"videos.train={clips}/train", f"output={output}", f"featurizer.model={model_file}"]
    common += ["featurizer.layer=late", "featurizer.engine=tensorflow", "evaluation.folds=0"]
    assert main(["extract", *common]) == 0
    tables = Tables(spark, str(output))
    frames = tables.read("frames").where("batch = 0")
    huge = cv2.imencode(".png", np.zeros((200, 200, 3), np.uint8))[1].tobytes()
    wrong = {"Box1": b"damaged", "Box2": huge, "Box3": None}

    def spoilt(row: dict) -> dict:
        name = Path(row["video"]).stem
        return {**row, "content": wrong[name]} if row["frame_index"] == 1 else row

    rows = [spoilt(row.asDict()) for row in frames.collect()]
    tables.write_batch(spark.createDataFrame(rows, frames.schema), "frames", 0)
    capsys.readouterr()
    assert main(["featurize", *common, "images.max_pixels=10000"]) == 0
    assert "; 3 frames have no features (1 no picture, 1 null, 1 too large)" in capsys.readouterr().out
    reasons = {"no picture": 1, "null": 1, "too large": 1}
    assert manifests(output)[-1]["report"]["featurize"]["reasons"] == reasons
    features = tables.read("features")
    assert (features.count(), features.where("features is null").count()) == (12, 3)
    assert features.where("features is null").where("error is null").isEmpty()
    assert main(["train", *common, f"labels.train={clips}/labels_train.csv"]) == 0
    assert "3 of them left out, as they have no features" in capsys.readouterr().out
    assert manifests(output)[-1]["report"]["train"]["labels"]["without_features"] == 3


def test_stages_in_the_wrong_order_say_what_to_run(tmp_path, clips, small_weights, capsys) -> None:
    for stage, first in (("featurize", "extract"), ("train", "featurize"), ("rank", "featurize")):
        command = [stage, f"labels.train={clips}/labels_train.csv", f"featurizer.weights={small_weights}"]
        assert main([*command, f"output={tmp_path}/out"]) == 2
        assert f"run `framewatch {first}` with this output first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    ["ingest", "extract", "featurize", "train", "rank", "quantize", "run", *OTHER_VERBS],
)
def test_help_says_what_a_verb_reads_and_writes(verb: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    if verb not in OTHER_VERBS:
        assert "--config FILE" in text and "key=value" in text
        assert verb == "run" or ("Reads" in text and "Writes" in text)


def test_a_wrong_verb_is_one_line(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rnu"])
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_format_that_the_session_or_the_output_has_not(finished, arguments, tmp_path, capsys) -> None:
    delta = ["tables.format=delta"]
    assert main(["extract", *arguments, *delta, f"output={tmp_path}/out"]) == 2
    assert "tables.format=delta needs Delta Lake, which this session lacks" in capsys.readouterr().err
    assert main(["rank", *arguments, *delta, f"output={finished}"]) == 2
    assert "/videos is parquet, and tables.format=delta: set another output" in capsys.readouterr().err
