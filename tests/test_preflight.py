"""What can be checked without Spark fails before Spark starts: with a Java that notes its calls."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, VideoMaker
from outputs import write_output

# All commands in one process: importing takes longer than what is tested.
CALLS = """
import contextlib, io, json, os, sys
from framewatch.cli.main import main
marker, found = sys.argv[1], []
for arguments in json.load(sys.stdin):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    found.append((code, errors.getvalue(), os.path.exists(marker)))
    if found[-1][2]:
        os.remove(marker)
json.dump(found, sys.stdout)
"""
JAVA = """#!/bin/sh
[ "$1" = -version ] && echo 'openjdk version "17.0.1"' >&2 && exit
touch {marker}
exit 1
"""
IDENTITY = {
    "model": "VGG16", "weights": "w.h5", "weights_sha256": "0" * 64, "pooling": "avg", "resize": "area",
    "precision": "float32",
}  # fmt: skip
VERBS = {
    "extract": (
        ("output=new", "neither videos.train nor videos.test is set"),
        ("output=new videos.train=gone", "no video matches 'gone': check the path"),
        ("output=new videos.train=none/*.mp4", "no video matches 'none/*.mp4'"),
        ("output=new videos.train=videos videos.test=none", "no video matches 'none'"),
        ("output=new videos.train=gone.csv", "the list of videos 'gone.csv' does not exist"),
        ("output=ranked videos.train=videos sampling.fps=2", "were taken with fps=1.0"),
        ("output=ranked videos.train=videos tables.format=delta", "is parquet, and tables.format=delta"),
    ),
    "ingest": (
        ("output=new", "neither videos.train nor videos.test is set"),
        ("output=new videos.train=gone", "no video matches 'gone': check the path"),
        ("output=ranked videos.train=videos", "frames.keep=full in ranked: `ingest` keeps no full pictures"),
        ("output=ranked videos.train=videos frames.keep=none", "frames.keep=full, and this run keeps none"),
        ("output=new videos.train=videos frames.keep=full", "run `framewatch extract` and `framewatch"),
        ("output=new videos.train=videos featurizer.weights=gone.h5", "'gone.h5' were not found"),
        ("output=new videos.train=videos featurizer.mode=overwrite", "featurizer.mode=overwrite needs full"),
    ),
    "compact": (("new", "there is no table new/videos: run `framewatch extract`"),),
    "featurize": (
        ("output=new", "there is no table new/frames: run `framewatch extract`"),
        ("output=ranked featurizer.weights=gone.h5", "weights 'gone.h5' were not found"),
        ("output=ranked featurizer.model=gone.keras", "the model file gone.keras was not found"),
        ("output=ranked featurizer.model=own.keras", "model is VGG16 in the features in ranked"),
        ("output=ranked featurizer.model=own.keras featurizer.precision=int8", "no int8 version of own"),
        ("output=ranked featurizer.model=own.onnx", "own.yaml does not exist"),
        ("output=ranked featurizer.model=two.onnx featurizer.engine=tensorflow", "two.onnx needs OpenVINO"),
    ),
    "quantize": (
        ("output=new", "there is no table new/frames"),
        ("output=ranked featurizer.weights=gone.h5", "weights 'gone.h5' were not found"),
    ),
    "train": (
        ("output=new labels.train=good.csv", "there is no table new/features: run `framewatch featurize`"),
        ("output=ranked", "labels.train is not set"),
        ("output=ranked labels.train=gone.csv", "labels file 'gone.csv' does not exist"),
        ("output=ranked labels.train=bad.csv", "line 2"),
        ("output=ranked labels.train=good.csv labels.groups=gone.csv", "groups file 'gone.csv' does not"),
        ("output=ranked labels.train=good.csv labels.groups=bad.csv", "it must have video,group"),
        ("output=ranked --with-verdicts", "there are no verdicts in ranked"),
    ),
    "rank": (
        ("output=new", "there is no table new/features"),
        ("output=ranked classifier.path=gone", "there is no classifier in gone"),
        ("output=ranked classifier.path=other", "model is VGG16 in the features in ranked and ResNet50 in"),
        ("output=ranked ranking.threshold=auto", "needs predictions of left-out videos"),
        ("output=ranked videos.test=gone", "no video matches 'gone'"),
        ("output=ranked labels.test=gone.csv", "labels file 'gone.csv' does not exist"),
    ),
    "run": (
        ("output=new videos.train=videos", "labels.train is not set"),
        ("output=new labels.train=good.csv", "videos.train is not set"),
        ("output=new videos.train=videos labels.train=bad.csv", "line 2"),
        ("output=new videos.train=gone labels.train=good.csv", "no video matches 'gone'"),
        ("output=new videos.train=videos labels.train=good.csv labels.test=gone.csv", "file 'gone.csv'"),
        ("output=new videos.test=videos classifier.path=gone", "there is no classifier in gone"),
        ("output=new videos.test=videos classifier.path=other featurizer.weights=gone.h5", "'gone.h5'"),
        ("output=new --watch", "videos.test is not set"),
        ("output=new --watch videos.test=videos", "there is no classifier in new/model"),
    ),
    "classify": (
        ("ranked --classes gone.json", "--classes gone.json does not exist"),
        ("ranked --classes bad.csv", "is not valid JSON"),
        ("new --classes example.json", "there is no table new/features"),
        ("ranked --classes text.json", "text prompt 'a dog' needs CLIP features"),
        ("ranked --classes example.json", "example 'gone.jpg' is no frame with features"),
        ("ranked --classes image.json", "image 'gone.png' cannot be read"),
        ("ranked --classes labels.json", "labels file 'gone.csv' does not exist"),
        ("ranked --classes verdicts.json", "there are no verdicts in ranked"),
    ),
    "ask": (
        ("ranked", "nothing is asked for"),
        ("new --example aframe0000.jpg", "there is no table new/features"),
        ("ranked dog", "text prompt 'dog' needs CLIP features"),
        ("ranked --example aframe0000.jpg --video gone", "gone"),
    ),
    "explore": (("new", "there is no table new/features"),),
    "index": (("new", "there is no table new/features"),),
    "search": (
        ("new --frame aframe0000.jpg", "there is no table new/features"),
        ("ranked", "nothing is looked for"),
        ("ranked --frame aframe0000.jpg", "framewatch index"),
    ),
    "sql": (("new", "new/spark-sql.conf does not exist"),),
    "timeline": (("a output=new", "no frames have been ranked in new"),),
    "report": (("new", "no frames have been ranked in new"),),
    "review": (("new --port 0", "no frames have been ranked in new"),),
    "weights": (("gone.h5", "weights 'gone.h5' were not found"),),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_video: VideoMaker, model_file: Path) -> Path:
    """A directory with a video, labels, requests, and an output that has features and a classifier."""
    place = tmp_path_factory.mktemp("preflight")
    make_video(place / "videos" / "a.mpg", seconds=1)
    (place / "none").mkdir()
    (place / "own.keras").symlink_to(model_file)
    for name in ("own.onnx", "two.onnx"):  # version 8, and a graph without nodes
        (place / name).write_bytes(b"\x08\x08\x3a\x00")
    (place / "two.yaml").write_text("size: 32\nscaling: tf\npooling: avg\n")
    for name, label in (("good", "1"), ("bad", "maybe?")):
        (place / f"{name}.csv").write_text(f"video,start_s,end_s,label\na.mpg,0,2,{label}\na.mpg,2,4,0\n")
    ranked = place / "ranked"
    probabilities = np.random.default_rng(0).random((1, 4))
    write_output(ranked, ["file:/v/a.mpg"], probabilities, 4, incidents=[(0, 1, 2, 1)])
    origins, videos = pa.array(["aframe0000.jpg"]), pa.array(["file:/v/a.mpg"])
    _write_batch(ranked, "frames", {"origin": origins, "content": pa.array([b""])}, {"fps": 1.0})
    vectors = pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    _write_batch(ranked, "features", {"origin": origins, "video": videos, "features": vectors}, IDENTITY)
    _write_notes(ranked / "model", IDENTITY)
    _write_notes(place / "other", {**IDENTITY, "model": "ResNet50"})
    for name, changes in {
        "text": {"prompts": ["a dog"]},
        "example": {"prompts": [{"example": "gone.jpg"}]},
        "image": {"prompts": [{"image": "gone.png"}]},
        "labels": {"labels": "gone.csv"},
        "verdicts": {"labels": "verdicts"},
    }.items():
        found = {"name": "it", "prompts": [{"example": "aframe0000.jpg"}], **changes}
        (place / f"{name}.json").write_text(json.dumps({"classes": [found]}))
    return place


def _write_batch(output: Path, name: str, columns: dict[str, pa.Array], metadata: dict[str, Any]) -> None:
    """One batch as Spark writes it, with framewatch's metadata on the last column."""
    column = {"name": list(columns)[-1], "type": "", "nullable": True, "metadata": {"framewatch": metadata}}
    schema = json.dumps({"type": "struct", "fields": [column]})
    table = pa.table(columns).replace_schema_metadata({"org.apache.spark.sql.parquet.row.metadata": schema})
    (output / name / "batch=0").mkdir(parents=True)
    pq.write_table(table, output / name / "batch=0" / "part-0.parquet")


def _write_notes(directory: Path, identity: dict[str, str]) -> None:
    directory.mkdir(exist_ok=True)
    notes = {"features": identity, "labels": {}, "settings": {}, "cross_validation": None}
    (directory / "metrics.json").write_text(json.dumps(notes))


@pytest.fixture(scope="module")
def found(place: Path) -> dict[str, tuple[int, str, bool]]:
    """Of each command its exit code, what it printed on stderr, and whether it called Java."""
    java = place / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(JAVA.format(marker=place / "started"))
    java.chmod(0o755)
    commands = [f"{verb} {arguments}" for verb, cases in VERBS.items() for arguments, _ in cases]
    commands.append("extract output=new videos.train=videos")
    elsewhere = ("MASTER", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_CONF_DIR")
    env = {key: value for key, value in os.environ.items() if key not in elsewhere}
    answers = subprocess.run(
        [sys.executable, "-c", CALLS, str(place / "started")],
        input=json.dumps([command.split(" ") for command in commands]),
        env={**env, "JAVA_HOME": str(place / "java"), "PYTHONPATH": str(ROOT), "COLUMNS": "1000"},
        cwd=place, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {
        command: tuple(answer) for command, answer in zip(commands, json.loads(answers.stdout), strict=True)
    }


@pytest.mark.parametrize("verb", VERBS)
def test_no_jvm_is_started_for_an_error_that_python_can_see(verb: str, found) -> None:
    for arguments, message in VERBS[verb]:
        code, errors, started = found[f"{verb} {arguments}"]
        assert (code, started) == (2, False), f"{verb} {arguments}: {errors}"
        assert message in errors and errors.count("\n") == 1, f"{verb} {arguments}: {errors}"


def test_java_would_have_been_noticed(found, place: Path) -> None:
    code, _, started = found["extract output=new videos.train=videos"]
    assert code != 0 and started


def test_every_verb_is_tested() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "framewatch.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    listed = {line.split()[0] for line in shown.splitlines() if line.startswith("    ") and line[4].isalpha()}
    assert listed - {"samples", "submit"} == set(VERBS), "these two read nothing of a run"
