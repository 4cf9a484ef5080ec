"""Tracking: real runs, logged by the real MLflow to a SQLite store."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.ml.functions import array_to_vector, vector_to_array

from framewatch.cli.main import main
from framewatch.config import load_config
from framewatch.pipeline.tracking import metrics, parameters, tracked
from framewatch.ranking.calibration import Calibration
from framewatch.tables.spark_tables import Tables

NEEDS_MLFLOW = "MLflow is not installed: pip install 'framewatch[tracking]'"


@pytest.fixture(scope="module")
def arguments(spark, labelled: list[str], model_file: Path, tmp_path_factory) -> list[str]:
    """Overrides for a run over the small clips, with a small network; the output comes last."""
    return [
        *labelled,
        f"featurizer.model={model_file}",
        "featurizer.layer=late",
        "classifier.max_iter=5",
        "evaluation.folds=2",
        "evaluation.precision_at=[1, 3]",
        "ranking.show=0",
        "catalog.enabled=false",
        f"output={tmp_path_factory.mktemp('tracked') / 'out'}",
    ]


@pytest.fixture(scope="module")
def output(arguments: list[str]) -> Path:
    return Path(arguments[-1].removeprefix("output="))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where MLflow keeps what it is told."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(autouse=True)
def _in_its_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)  # MLflow keeps the files of a database's runs in ./mlruns


@pytest.fixture(scope="module")
def tracking(home: Path) -> Iterator[list[str]]:
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    uri = f"sqlite:///{home}/mlflow.db"
    yield ["tracking.enabled=true", f"tracking.uri={uri}", "tracking.experiment=cameras"]
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def logged(arguments: list[str], tracking: list[str], home: Path) -> Any:
    """The MLflow run of one `framewatch run`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["run", "--debug", *arguments, *tracking]) == 0
    return last_run(tracking)


def client(tracking: list[str]) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=tracking[1].removeprefix("tracking.uri="))


def last_run(tracking: list[str]) -> Any:
    experiment = client(tracking).get_experiment_by_name(tracking[2].removeprefix("tracking.experiment="))
    return client(tracking).search_runs([experiment.experiment_id], order_by=["start_time DESC"])[0]


def versions(tracking: list[str]) -> list[int]:
    return sorted(int(it.version) for it in client(tracking).search_model_versions("name = 'framewatch'"))


def last_manifest(output: Path) -> Path:
    return max((output / "runs").iterdir())


def test_parameters_and_tags(logged, output: Path) -> None:
    assert (logged.info.status, logged.info.run_name) == ("FINISHED", "run out")
    params, tags = logged.data.params, logged.data.tags
    config = json.loads(last_manifest(output).read_text())["config"]
    assert params["classifier.max_iter"] == "5"
    assert json.loads(params["videos.train"]) == config["videos"]["train"]
    assert (params["classifier.path"], params["catalog.enabled"]) == ("null", "false")
    features = json.loads((output / "model" / "metrics.json").read_text())["features"]
    assert tags["weights_sha256"] == features["weights_sha256"]
    assert (tags["stage"], tags["output"]) == ("run", str(output))
    assert tags["config_sha256"] == json.loads(last_manifest(output).read_text())["config_sha256"]


def test_metrics_are_those_of_the_files(logged, output: Path) -> None:
    notes = json.loads((output / "model" / "metrics.json").read_text())
    found = logged.data.metrics
    for of in ("cross_validation", "test"):
        for name in ("average_precision", "roc_auc", "base_rate", "frames"):
            assert found[f"{of}.{name}"] == pytest.approx(notes[of][name], abs=1e-12)
        for k in ("1", "3"):
            assert found[f"{of}.precision_at.{k}"] == pytest.approx(notes[of]["precision_at"][k], abs=1e-12)
    assert (found["ingest.videos"], found["train.labels.labelled_frames"], found["rank.frames"]) == (
        4,
        12,
        4,
    )


def test_files(logged, output: Path, tracking: list[str], tmp_path: Path) -> None:
    got = Path(client(tracking).download_artifacts(logged.info.run_id, "", str(tmp_path)))
    expected = {
        "model_card.md": output / "model" / "model_card.md",
        "metrics.json": output / "model" / "metrics.json",
        "report/index.html": output / "report" / "index.html",
        "manifest.json": last_manifest(output),
    }
    for name, path in expected.items():
        assert (got / name).read_bytes() == path.read_bytes(), name


def test_the_registered_model_scores_as_the_run_did(logged, spark, output: Path, tracking: list[str]) -> None:
    import mlflow

    assert versions(tracking) == [1]
    model = mlflow.spark.load_model("models:/framewatch/1")
    tables = Tables(spark, str(output))
    features = tables.current("features").withColumn("features", array_to_vector("features"))
    scored = model.transform(features).withColumn("p", vector_to_array("probability")[1])
    notes = json.loads((output / "model" / "metrics.json").read_text())["calibration"]
    assert notes["kind"] == "platt"
    calibrated = Calibration.of_notes(notes).probabilities
    found = {row["origin"]: calibrated(row["p"]) for row in scored.select("origin", "p").collect()}
    ranked = tables.read("predictions").select("origin", "prob2").collect()
    assert [found[row["origin"]] for row in ranked] == pytest.approx(
        [row["prob2"] for row in ranked], abs=1e-9
    )
    info = mlflow.models.get_model_info("models:/framewatch/1")
    assert info.signature.inputs.input_names() == ["features"]
    assert info.metadata["weights_sha256"] == logged.data.tags["weights_sha256"]
    assert not (output / "_staging").exists()


def test_training_again_makes_another_version_ranking_none(
    logged, arguments: list[str], tracking: list[str], output: Path, tmp_path: Path, capsys
) -> None:
    assert main(["train", "--debug", *arguments, *tracking, "evaluation.folds=0"]) == 0
    assert "with version 2 of model framewatch, at sqlite://" in capsys.readouterr().out
    assert versions(tracking) == [1, 2]
    assert not {"test.frames", "cross_validation.frames"} & set(last_run(tracking).data.metrics)
    assert main(["rank", "--debug", *arguments, *tracking, f"classifier.path={output}/model"]) == 0
    assert versions(tracking) == [1, 2]
    run = last_run(tracking)
    assert (run.data.tags["stage"], run.info.status) == ("rank", "FINISHED")
    assert run.data.metrics["test.frames"] == 4
    assert len(client(tracking).list_artifacts(run.info.run_id, "report")) == 1


def test_a_run_that_fails_is_marked(logged, arguments, tracking, capsys) -> None:
    assert main(["train", *arguments, *tracking, "labels.train=nope.csv"]) == 2
    run = last_run(tracking)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"].startswith("labels file 'nope.csv' does not exist")
    assert run.data.params["labels.train"] == "nope.csv"
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(KeyboardInterrupt), tracked(load_config(None, [*arguments, *tracking]), "train"):
        raise KeyboardInterrupt
    assert last_run(tracking).info.status == "KILLED"


def test_what_cannot_be_logged_at_the_end_loses_nothing(
    logged, arguments, tracking, output: Path, tmp_path: Path, capsys
) -> None:
    """The server is there, but its store of files takes none."""
    (tmp_path / "file").write_text("")
    client(tracking).create_experiment("full", artifact_location=f"{tmp_path}/file/artifacts")
    full = [*tracking[:2], "tracking.experiment=full"]
    assert main(["train", *arguments, *full, "evaluation.folds=0"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: tracking:")]
    assert len(told) == 1
    assert (
        "not all could be logged to sqlite://" in told[0] and f"the results in {output} are whole" in told[0]
    )
    assert last_run(full).info.status == "FAILED"
    assert json.loads(last_manifest(output).read_text())["status"] == "ok"


def test_without_mlflow(logged, arguments, output: Path, monkeypatch, capsys) -> None:
    """Where nothing is tracked, it is not imported; else the run ends before any work."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    before = last_manifest(output)
    assert main(["train", *arguments, "tracking.enabled=true"]) == 2
    assert capsys.readouterr().err == (
        "error: tracking needs MLflow: pip install 'framewatch[tracking]', or set tracking.enabled=false\n"
    )
    assert last_manifest(output) == before
    assert main(["ingest", "--debug", *arguments, "tracking.enabled=true"]) == 0  # it trains nothing
    with tracked(load_config(None, arguments), "train"):
        pass
    assert "tracking" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://127.0.0.1:9", "refused"),
        (
            "http://ann:secret@127.0.0.1:9",
            "tracking.uri=http://127.0.0.1:9 does not open the experiment cameras",
        ),
        ("sqlite:////proc/nowhere/a.db", "No such file or directory"),
        ("nowhere://", "unsupported URI"),
    ],
)
def test_a_server_out_of_reach_is_told_at_once(
    logged, arguments, tracking, output: Path, uri: str, says: str, capsys
) -> None:
    before, started = last_manifest(output), time.monotonic()
    assert main(["train", *arguments, *tracking, f"tracking.uri={uri}"]) == 2
    assert time.monotonic() - started < 20
    [line] = capsys.readouterr().err.splitlines()
    assert says in line and line.endswith("or set tracking.enabled=false") and "secret" not in line
    assert last_manifest(output) == before


def test_parameters_fit_mlflow_and_hold_no_passwords() -> None:
    long = ", ".join(f"videos/{number}.mp4" for number in range(1000))
    found = parameters(
        load_config(
            None,
            [
                f"videos.train=[{long}]",
                "spark.conf.fs.s3a.secret.key=hush",
                "spark.conf.spark.task.cpus=1",
                "tracking.uri=http://ann:hu@sh@host:5000/x",
            ],
        )
    )
    assert len(found["videos.train"]) == 6000
    assert found["spark.conf.fs.s3a.secret.key"] == "(hidden)"
    assert found["spark.conf.spark.task.cpus"] == "1"
    assert found["tracking.uri"] == "http://host:5000/x"
    assert "hush" not in str(found) and "ann" not in str(found)


def test_metrics_are_finite_numbers_with_valid_names() -> None:
    report = {
        "extract": {"videos": 3, "frames": 9},
        "train": {"settings": {"max_iter": 5}, "labels": {"file": "a.csv", "unmatched": 2}},
        "rank": {"test": {"roc_auc": None, "precision_at": {"3": 0.5}, "videos": {"file:/a b?.mp4": {}}}},
    }
    notes = {"cross_validation": {"average_precision": float("nan"), "curve": [{"recall": 1}]}}
    assert metrics(report, notes) == {
        "extract.videos": 3, "extract.frames": 9, "train.labels.unmatched": 2, "test.precision_at.3": 0.5,
    }  # fmt: skip
