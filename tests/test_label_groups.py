"""Groups of videos through `train` and `rank`: no classifier is tested on a group that it has seen."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from spark_run import SECONDS, labelled, make, usual

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.pipeline import fitting
from framewatch.ranking import classifier, scores
from framewatch.ranking.calibration import Calibration
from framewatch.tables import saved_model
from framewatch.tables.spark_tables import Tables

GROUPS = {"a": "r1", "b": "r1", "c": "r2", "d": "r3", "e": "r3", "f": "r4"}
CLOCKED = ("x_20260101T080000", "x_20260101T083000")


@pytest.fixture(scope="module")
def output(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("groups")
    names = [*GROUPS, *CLOCKED]
    make(spark, root / "out", {name: [usual(s, n) for s in range(SECONDS)] for n, name in enumerate(names)})
    labelled(root / "train.csv", ["a", "b", "c", CLOCKED[0]])
    labelled(root / "test.csv", ["b", "d", "e", "f", CLOCKED[1]])
    rows = [f"{video},{group}" for video, group in GROUPS.items()]
    (root / "groups.csv").write_text("\n".join(["video,group", *rows, "gone,r9"]) + "\n")
    return root / "out"


def settings(output: Path, groups: str) -> list[str]:
    common = ["catalog.enabled=false", "ranking.show=0", f"output={output}", f"labels.groups={groups}"]
    return [*common, f"labels.train={output.parent}/train.csv"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_groups_stay_together_in_training_and_testing(
    in_memory: bool, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if not in_memory:
        monkeypatch.setattr(fitting, "_VALUES_IN_MEMORY", 0)
    arguments = settings(output, f"{output.parent}/groups.csv")
    assert main(["train", "--debug", *arguments]) == 0
    out = capsys.readouterr().out
    assert "groups: 6 videos are in 4 groups of groups file" in out
    assert "1 of its rows match no video: line 8: 'gone', group 'r9'" in out
    saved = saved_model.require_model(f"{output}/model")
    rows = pq.read_table(saved.labelled_path, columns=["video", "group", "prob2"]).to_pylist()
    group_of = {Path(row["video"]).stem: Path(row["group"]).stem for row in rows}
    assert group_of == {"a": "r1", "b": "r1", "c": "r2", CLOCKED[0]: CLOCKED[0]}
    assert all(row["prob2"] is not None for row in rows)
    metrics = saved.notes["cross_validation"]
    assert (metrics["groups"], metrics["suspicious_groups"]) == (3, 3)
    low, high = metrics["average_precision_interval"]
    assert low <= metrics["average_precision"] <= high
    assert f"AP {metrics['average_precision']:.3f} ({low:.2f} to {high:.2f}), ROC AUC" in out
    card = (output / "model" / "model_card.md").read_text()
    assert "Warning: 3 groups of videos, 3 with suspicious frames. With fewer than 10" in card
    assert main(["rank", "--debug", *arguments, f"labels.test={output.parent}/test.csv"]) == 0
    assert "left out are 2 videos of groups that the classifier learned from" in capsys.readouterr().out
    tested = json.loads((output / "test_metrics.json").read_text())
    assert {Path(video).stem for video in tested["videos"]} == {"d", "e", "f"}
    assert tested["groups"] == 2


@pytest.mark.parametrize("in_memory", [True, False])
def test_ranked_probabilities_are_calibrated_and_ranks_are_those_of_the_classifier(
    in_memory: bool, spark, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if not in_memory:
        monkeypatch.setattr(fitting, "_VALUES_IN_MEMORY", 0)
    arguments = [*settings(output, f"{output.parent}/groups.csv"), "evaluation.budgets_minutes=[0.5, 1]"]
    tables, found = Tables(spark, str(output)), {}
    for kind in ("platt", "none"):
        calibrated = [*arguments, f"classifier.calibration={kind}", "evaluation.prevalence=0.25"]
        assert main(["train", "--debug", *calibrated]) == 0
        capsys.readouterr()
        assert main(["rank", "--debug", *calibrated]) == 0
        rows = tables.read("predictions").orderBy("origin").collect()
        found[kind] = [(row["origin"], row["rank"]) for row in rows], np.array([row["prob2"] for row in rows])
        assert all(row["probability"][1] == row["prob2"] for row in rows)
        out = capsys.readouterr().out
        assert "in this footage, reviewing 1 minute (of 1.6) is expected to find " in out
        assert "; prevalence 25%, assumed" in out
    saved = saved_model.require_model(f"{output}/model")
    model = classifier.load(saved.spark_path)
    own = scores.score(tables.current("features"), model).orderBy("origin").collect()
    assert found["none"][1].tolist() == [row["prob2"] for row in own], "not those with the other calibration"
    first = saved_model.read(f"{output}/model", sorted(path.name for path in versions(output))[-2])
    assert first.notes["classifier"] == saved.notes["classifier"]
    assert (first.notes["calibration"]["kind"], saved.notes["calibration"]["kind"]) == ("platt", "none")
    expected = Calibration.of_notes(first.notes["calibration"]).probabilities(found["none"][1])
    assert found["platt"][1] == pytest.approx(expected, abs=1e-9)
    assert np.abs(found["platt"][1] - found["none"][1]).max() > 0.01
    assert found["platt"][0] == found["none"][0]
    for notes in (first.notes, saved.notes):
        measured = notes["cross_validation"]
        assert measured["threshold_recall"]["wanted"] == 0.9 and len(measured["reliability"]) == 10
    footage = json.loads((output / "ranking.json").read_text())["footage"]
    assert (footage["frames"], footage["prevalence"], footage["prevalence_from"]) == (96, 0.25, "assumed")
    for spent, number in zip(footage["budgets"], (30, 60), strict=True):
        nth = sorted(found["none"][1])[-number]
        rows = pq.read_table(saved.labelled_path, columns=["prob2", "label"]).to_pylist()
        above = [row["prob2"] >= nth for row in rows if row["label"] == 1]
        assert (spent["frames"], spent["threshold"]) == (number, nth)
        assert spent["recall"] == pytest.approx(np.mean(above))
        assert spent["precision"] == pytest.approx(min(1, np.mean(above) * 24 / number))


def versions(output: Path) -> list[Path]:
    return list((output / "model" / "versions").iterdir())


def test_an_older_classifier_without_calibration_ranks_as_before(
    spark, output: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = settings(output, f"{output.parent}/groups.csv")
    assert main(["train", "--debug", *arguments]) == 0
    saved = saved_model.require_model(f"{output}/model")
    older = saved_model.SavedModel(saved.directory, without(saved.notes, "calibration"))
    saved_model.publish(f"{output}/model", older, "card")
    path = next(Path(saved.labelled_path).glob("*.parquet"))
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns("group"), path)
    assert main(["rank", "--debug", *arguments]) == 0
    tables = Tables(spark, str(output))
    model = classifier.load(saved.spark_path)
    own = scores.score(tables.current("features"), model).orderBy("origin").collect()
    rows = tables.read("predictions").orderBy("origin").collect()
    assert [row["prob2"] for row in rows] == [row["prob2"] for row in own]
    assert "the mean of the probabilities" in capsys.readouterr().out


def without(notes: dict, name: str) -> dict:
    return {key: value for key, value in notes.items() if key != name}


def test_one_group_trains_without_metrics(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("video,group\n" + "".join(f"{name},all\n" for name in [*GROUPS, *CLOCKED]))
    assert main(["train", "--debug", *settings(output, str(groups))]) == 0
    assert "not measured, as all labelled videos are in one group: label videos of" in capsys.readouterr().out
    notes = saved_model.require_model(f"{output}/model").notes
    assert (notes["cross_validation"], notes["calibration"]["kind"]) == (None, "none")
    assert "Not calibrated, as no videos were left out" in (output / "model" / "model_card.md").read_text()
    assert "Warning: not measured, as all labelled" in (output / "model" / "model_card.md").read_text()


def test_a_video_with_verdicts_keeps_the_group_of_its_labels(output: Path, tmp_path: Path) -> None:
    """Verdicts replace all labels of `a`."""
    video = f"file:{output.parent}/videos/a.mp4"
    log = VerdictLog(str(output))
    for start_s, answer in ((0, "not"), (SECONDS / 2, "suspicious")):
        end_s = start_s + SECONDS / 2
        log.append(Verdict(video=video, start_s=start_s, end_s=end_s, answer=answer, reviewer="ann"))
    rows = labelled(tmp_path / "labels.csv", ["a", "b", "c"]).read_text().splitlines()
    labels = [f"{row},{'group' if row.endswith('label') else 'hall' if row < 'c' else ''}" for row in rows]
    (tmp_path / "labels.csv").write_text("\n".join(labels))
    arguments = [*settings(output, "null"), f"labels.train={tmp_path}/labels.csv", "evaluation.folds=0"]
    assert main(["train", "--debug", "--with-verdicts", *arguments]) == 0
    saved = saved_model.require_model(f"{output}/model")
    rows = pq.read_table(saved.labelled_path, columns=["video", "group", "weight"]).to_pylist()
    found = {(Path(row["video"]).stem, Path(row["group"]).stem, row["weight"]) for row in rows}
    assert found == {("a", "hall", 4.0), ("b", "hall", 1.0), ("c", "c", 1.0)}


def test_a_classifier_of_an_older_version_has_no_groups(output: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = settings(output, f"{output.parent}/groups.csv")
    assert main(["train", "--debug", *arguments, "evaluation.folds=0"]) == 0
    path = Path(saved_model.require_model(f"{output}/model").labelled_path) / "part-00000.parquet"
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns("group"), path)
    capsys.readouterr()
    tested = [f"labels.test={output.parent}/test.csv", "labels.groups=null"]
    assert main(["rank", "--debug", *arguments, *tested]) == 0
    # Without groups, a is apart from b; the clock still joins the others.
    assert "left out are 2 videos of groups that the classifier learned from" in capsys.readouterr().out
    metrics = json.loads((output / "test_metrics.json").read_text())
    assert {Path(video).stem for video in metrics["videos"]} == {"d", "e", "f"} and metrics["groups"] == 3
