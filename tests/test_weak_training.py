"""Labels by video and by point through `train` and `rank`: what is fitted, reported, and left out."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from spark_run import LENGTH, SECONDS, make

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.tables import saved_model
from framewatch.tables.results import Results
from framewatch.tables.spark_tables import Tables

TRAINED, TESTED = "abcdefghijkl", "pqrs"
EVENT = (5, 6, 7)


def frames(number: int) -> list[list[float] | None]:
    """In every second video, three seconds are suspicious; one frame has no features."""
    rows = np.random.default_rng(number).random((SECONDS, LENGTH))
    if number % 2 == 0:
        rows[list(EVENT), 0] += 4
    found: list[list[float] | None] = rows.tolist()
    if number == 1:
        found[3] = None
    return found


@pytest.fixture(scope="module")
def output(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weak")
    names = [*TRAINED, *TESTED]
    make(spark, root / "out", {name: frames(number) for number, name in enumerate(names)})
    of_videos = [f"{name},{'0' if number % 2 else 'fight'}" for number, name in enumerate(names)]
    points = [f"{name},0:08,0" for name in names]
    points += [f"{name},{EVENT[1] + 0.4},{int(n % 2 == 0)}" for n, name in enumerate(names)]
    for header, lines in {"video,label": of_videos, "video,second,label": points}.items():
        name = "videos" if header == "video,label" else "points"
        for place, of in {"train": TRAINED, "test": TESTED}.items():
            text = "\n".join([header, *(line for line in lines if line[0] in of)])
            (root / f"{name}_{place}.csv").write_text(text + "\n")
    rows = [f"{name},r{number // 2}" for number, name in enumerate(TRAINED)]
    (root / "groups.csv").write_text("\n".join(["video,group", *rows]) + "\n")
    return root / "out"


def arguments(output: Path, kind: str) -> list[str]:
    root = output.parent
    given = [f"labels.train={root}/{kind}_train.csv", f"labels.groups={root}/groups.csv"]
    return ["--debug", f"output={output}", "catalog.enabled=false", "ranking.show=0", *given]


def top(spark, output: Path, number: int) -> set[tuple[str, int]]:
    rows = Tables(spark, str(output)).read("predictions").where(f"rank <= {number}").collect()
    return {(Path(row["video"]).stem, int(row["timestamp_s"])) for row in rows}


def events() -> set[tuple[str, int]]:
    return {(name, second) for name in [*TRAINED, *TESTED][::2] for second in EVENT}


def test_labels_by_video(spark, output: Path, capsys: pytest.CaptureFixture) -> None:
    given = arguments(output, "videos")
    assert main(["train", *given]) == 0
    out = capsys.readouterr().out
    assert "12 labels, 12 labelled videos (6 suspicious) with 144 frames, 48 frames without a label" in out
    assert "on left-out videos: 12 videos, 6 suspicious, AP 1.000" in out
    assert "the score of a video is the mean of the highest 1/" in out
    assert "1 of them left out, as they have no features" in out
    saved = saved_model.require_model(f"{output}/model")
    metrics, notes = saved.notes["cross_validation"], saved.notes["labels"]
    assert (metrics["unit"], metrics["num_videos"], metrics["suspicious"]) == ("videos", 12, 6)
    assert "frames" not in metrics and metrics["budgets"] == []
    assert metrics["average_precision_interval"] and metrics["precision_at"]["3"] == 1.0
    assert saved.notes["calibration"]["kind"] == "none"
    card = (output / "model" / "model_card.md").read_text()
    assert "12 labelled videos, 6 suspicious, with 144 frames" in card
    assert "Not calibrated, as labels by video do not show which seconds are suspicious" in card
    assert "No budgets, as labels by video do not" in card and "| a.mp4 | 1 | 0." in card
    # The review page learns from what the classifier learned from, and shows only what people have labelled.
    rows = pq.read_table(saved.labelled_path).to_pylist()
    chosen = {(Path(r["video"]).stem, int(r["timestamp_s"])) for r in rows if r["label"] == 1}
    assert chosen <= events() and {name for name, _ in chosen} == set(TRAINED[::2])
    assert all(row["known"] == (row["label"] == 0) and row["prob2"] is not None for row in rows)
    assert main(["rank", *given, f"labels.test={output.parent}/videos_test.csv"]) == 0
    out = capsys.readouterr().out
    assert "test labels: 4 videos, 2 suspicious, AP 1.000" in out and "is expected to find" not in out
    assert top(spark, output, 24) == events()
    tested = json.loads((output / "test_metrics.json").read_text())
    assert {Path(video).stem: row["label"] for video, row in tested["videos"].items()} == dict(
        zip(TESTED, (1, 0, 1, 0), strict=True)
    )
    assert notes["extent_losses"].keys() == {"0.0625", "0.25", "1"}
    labels = Results(str(output)).known_labels()
    assert {label for rows in labels.values() for _, label in rows} == {0.0}
    assert "Model card" in (output / "report" / "index.html").read_text()
    assert main(["rank", *given, "ranking.threshold=auto"]) == 2
    assert "ranking.threshold=auto needs labels of seconds" in capsys.readouterr().err


def test_labels_by_point(spark, output: Path, capsys: pytest.CaptureFixture) -> None:
    given = arguments(output, "points")
    assert main(["train", *given]) == 0
    out = capsys.readouterr().out
    assert "24 labels, 24 labelled frames (6 suspicious), 168 frames without a label" in out
    assert "a label by point holds for " in out and ", chosen by the loss on left-out groups: 1 s 0." in out
    saved = saved_model.require_model(f"{output}/model")
    metrics, notes = saved.notes["cross_validation"], saved.notes["labels"]
    assert (metrics["frames"], metrics["suspicious"], metrics["average_precision"]) == (24, 6, 1.0)
    # The event is from 1.4 s before the point to 0.6 s after it; second 8 has a point of its own.
    assert notes["extent"] in (2, 4) and notes["extent"] == min(
        (float(w) for w in notes["extent_losses"]), key=_loss_of(notes)
    )
    assert saved.notes["calibration"]["kind"] == "platt" and saved.notes["calibration"]["frames"] == 24
    rows = pq.read_table(saved.labelled_path).to_pylist()
    near = {(int(row["timestamp_s"]), row["known"]) for row in rows if row["label"] == 1}
    assert {(6, True), (7, False)} <= near <= {(5, False), (6, True), (7, False)}
    card = (output / "model" / "model_card.md").read_text()
    assert f"- By point: a label by point holds for {notes['extent']:g} s around it" in card
    assert main(["rank", *given, f"labels.test={output.parent}/points_test.csv"]) == 0
    assert "test labels: AP 1.000" in capsys.readouterr().out
    assert top(spark, output, 24) == events()
    assert json.loads((output / "test_metrics.json").read_text())["frames"] == 8


def _loss_of(notes: dict):
    return lambda width: notes["extent_losses"][f"{width:g}"]


def test_verdicts_are_labels_of_their_own_frames(
    spark, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A reviewer finds that the second event of each video is harmless; the classifier learns the first."""
    seconds = {}
    for number, name in enumerate(TRAINED[:8]):
        rows = np.random.default_rng(number).random((SECONDS, LENGTH))
        if number % 2 == 0:
            rows[2, 0] += 4
            rows[9, 1] += 4
        seconds[name] = rows.tolist()
    make(spark, tmp_path / "out", seconds)
    lines = [f"{name},{int(number % 2 == 0)}" for number, name in enumerate(seconds)]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label", *lines]))
    log = VerdictLog(str(tmp_path / "out"))
    for name in list(seconds)[::2]:
        video = f"file:{tmp_path}/videos/{name}.mp4"
        log.append(Verdict(video=video, start_s=9, end_s=10, answer="not", reviewer="ann"))
    given = [f"output={tmp_path}/out", "catalog.enabled=false", f"labels.train={tmp_path}/labels.csv"]
    assert main(["train", "--debug", "--with-verdicts", *given]) == 0
    assert "verdicts: 4 labels, 4 labelled frames" in capsys.readouterr().out
    saved = saved_model.require_model(f"{tmp_path}/out/model")
    rows = pq.read_table(saved.labelled_path).to_pylist()
    judged = [row for row in rows if row["timestamp_s"] == 9 and Path(row["video"]).stem in "aceg"]
    assert {(row["label"], row["weight"], row["known"]) for row in judged} == {(0.0, 4.0, True)}
    assert len(judged) == 4 and saved.notes["cross_validation"]["num_videos"] == 8
    chosen = [row["timestamp_s"] for row in rows if row["label"] == 1]
    assert chosen.count(2.0) == 4 and 9.0 not in chosen


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("video,label\na,1\nb,1\n", "all 2 labelled videos have label 1: training needs videos of both"),
        (
            "video,label\na,1\nb,0\na.mp4,0\n",
            "in 1 video(s): line 2: 'a', label 1 and line 4: 'a.mp4', label 0",
        ),
        (
            "video,second,label\na,5,1\na,5.9,0\nb,1,0\n",
            "in 1 frame(s): line 2: 'a' at 5 s, label 1 and line 3",
        ),
    ],
)
def test_bad_labels_are_one_line(
    lines: str, problem: str, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "labels.csv").write_text(lines)
    given = [f"output={output}", "catalog.enabled=false", f"labels.train={tmp_path}/labels.csv"]
    assert main(["train", *given]) == 2
    assert problem in capsys.readouterr().err


def test_one_group_uses_the_default_and_too_many_frames_are_refused(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "groups.csv").write_text("video,group\na,r\nb,r\nc,r\n")
    (tmp_path / "labels.csv").write_text("video,second,label\na,5,1\nb,5,0\nc,5.5,1\nc,77,0\n")
    given = [f"output={output}", "catalog.enabled=false", f"labels.train={tmp_path}/labels.csv"]
    given.append(f"labels.groups={tmp_path}/groups.csv")
    assert main(["train", "--debug", *given]) == 0
    out = capsys.readouterr().out
    assert "holds for 4 s around it, half on each side, the default, as no group can be left out" in out
    assert "line 5: 'c' at 77 s, label 0 (its frames are from 0 s to 11 s)" in out
    assert "not measured, as all labelled videos are in one group" in out
    monkeypatch.setattr("framewatch.pipeline.fitting._VALUES_IN_MEMORY", 2048)
    assert main(["train", *given]) == 2
    assert "labels by point are resolved in memory, and 35 frames are too many" in capsys.readouterr().err
