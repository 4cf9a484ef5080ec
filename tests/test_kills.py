"""`ingest`, `train` and `rank` killed between writes: what can be read is whole, and again ends well."""

import contextlib
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST_OVERRIDES, contents
from featured import Frames, write_features
from pyspark.sql import SparkSession

from framewatch.cli.main import main
from framewatch.errors import InputError
from framewatch.io import locks, storage
from framewatch.ranking import classifier
from framewatch.tables import saved_model
from framewatch.tables.results import Results
from framewatch.tables.spark_tables import Tables

pytestmark = pytest.mark.system

# The package has functions of the same names.
FITTING, RANK = (import_module(f"framewatch.pipeline.{stage}") for stage in ("fitting", "rank"))
VIDEOS = tuple(f"file:/clips/cam{n}.mp4" for n in range(6))
MARKS = tuple((video, 4, 8, 1) for video in (0, 2, 4))
# The two trainings differ in what they learn from.
BEFORE = "video,start_s,end_s,label\n" + "".join(
    f"cam{n}.mp4,{a},{b},{int(4 <= a < 8 and n in (0, 2))}\n"
    for n in (0, 1, 2, 3)
    for a, b in ((0, 4), (4, 8))
)
AFTER = BEFORE + "cam4.mp4,4,8,1\ncam5.mp4,4,8,0\n"


class Killed(BaseException):
    """As SIGKILL to what is written: from here on, nothing is."""


@contextlib.contextmanager
def killed_before(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ends the process, as far as storage can see, before its write `number`, from 0; counts the writes."""
    done: list[str] = []

    def counted(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if len(done) >= number:
                raise Killed
            done.append(name)
            return write(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        for owner, name in (
            (storage, "write_bytes"), (storage, "delete"), (classifier, "save"), (FITTING, "write_table"),
            (Tables, "replace"), (RANK, "register_for_sql"),
        ):  # fmt: skip
            patch.setattr(owner, name, counted(name, getattr(owner, name)))
        # The lock is the kernel's: it goes with the process.
        yield done


@pytest.fixture(scope="module")
def command(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    folder = tmp_path_factory.mktemp("kills")
    write_features(spark, folder / "out", Frames(VIDEOS, 12, 8, MARKS, strength=3.0))
    (folder / "before.csv").write_text(BEFORE)
    (folder / "after.csv").write_text(AFTER)

    def make(verb: str, labels: str = "before") -> list[str]:
        settings = ["evaluation.folds=0", "catalog.enabled=false", "ranking.show=0"]
        tested = f"labels.test={folder}/after.csv" if verb == "rank" else "labels.test=null"
        trained = f"labels.train={folder}/{labels}.csv"
        return [verb, "--debug", *FAST_OVERRIDES, *settings, tested, trained, f"output={folder}/out"]

    return make


@pytest.fixture(scope="module")
def output(command: Callable[..., list[str]]) -> Path:
    return Path(command("train")[-1].removeprefix("output="))


def current(output: Path) -> tuple[str, int]:
    """The classifier that a reader finds, after checking that all its parts are of one training."""
    saved = saved_model.read(str(output / "model"))
    assert saved is not None
    identity = classifier.identity(classifier.load(saved.spark_path))
    saved.require_identity(identity)
    assert json.loads((Path(saved.directory) / "metrics.json").read_text())["classifier"] == identity
    labelled = Results.__new__(Results)
    labelled.output, labelled.ranking = str(output), {"model_path": "model"}
    frames = labelled.labelled().count_rows()
    assert frames == saved.notes["labels"]["labelled_frames"]
    card = output / "model" / "model_card.md"
    assert not card.exists() or f"{frames} labelled frames" in card.read_text()
    return identity, frames


def test_train_killed_between_any_two_writes(spark, command, output: Path, monkeypatch) -> None:
    assert main(command("train", "after")) == 0
    wanted = current(output)
    assert main(command("train", "before")) == 0
    old = current(output)
    assert old != wanted
    seen, number = [], 0
    while True:
        with killed_before(number, monkeypatch) as done, contextlib.suppress(Killed):
            assert main(command("train", "after")) == 0
            break
        assert len(done) == number, "the kill came"
        seen.append(current(output))
        number += 1
    # The old one until the pointer moved, then the new one.
    assert set(seen) == {old, wanted} and seen == sorted(seen, key=lambda it: it == wanted)
    assert current(output) == wanted
    versions = list((output / "model" / "versions").iterdir())
    # The current one, the one before it, which may be open, and perhaps that of the ranking.
    assert 2 <= len(versions) <= 3


def test_rank_killed_between_any_two_writes(spark, command, output: Path, monkeypatch) -> None:
    assert main(command("train", "before")) == 0
    assert main(command("rank")) == 0
    before = ranked(output)
    assert main(command("train", "after")) == 0
    assert ranked(output) == before, "a training leaves the ranking alone"
    assert main(command("rank")) == 0
    wanted = ranked(output)
    assert before is not None and wanted is not None and before != wanted
    assert main(command("train", "before")) == 0
    assert main(command("rank")) == 0
    assert main(command("train", "after")) == 0
    seen, number = [], 0
    while True:
        with killed_before(number, monkeypatch) as done, contextlib.suppress(Killed):
            assert main(command("rank")) == 0
            break
        assert len(done) == number, "the kill came"
        seen.append(ranked(output))
        number += 1
    assert [it for it in seen if it is not None and it[0] == before[0]] == [before] * seen.count(before)
    assert all(it is None or it == before or it[:2] == wanted[:2] for it in seen)
    assert ranked(output) == wanted and wanted[2] == []


def ranked(output: Path) -> tuple[str, list[float], list[str]] | None:
    """What a reader of the tables finds: whose ranking, its probabilities, and what is stale beside it."""
    try:
        results = Results(str(output))
    except InputError as error:
        assert "run `framewatch rank`" in str(error)
        return None
    rows = results.read("predictions", ["rank", "prob2"]).sort_by("rank")["prob2"].to_pylist()
    incidents = results.read("incidents", ["peak_prob2"])["peak_prob2"].to_pylist()
    assert set(incidents) <= set(rows) and len(incidents) == results.ranking["incidents"]
    assert results.labelled().count_rows() == results.model_notes()["labels"]["labelled_frames"]
    assert results.model_notes()["classifier"] == results.ranking["model"]
    return results.ranking["model"], rows, results.ranking["stale"]


def test_ingest_killed_before_each_write_of_a_batch(
    spark, clips: Path, model_file: Path, tmp_path: Path, monkeypatch
) -> None:
    """Two batches, each with three writes: what counts is whole after each kill, and all of it in the end."""
    command = ["ingest", "--debug", f"videos.train={clips}/train", f"featurizer.model={model_file}"]
    command += ["extract.videos_per_batch=2", *FAST_OVERRIDES]
    assert main([*command, f"output={tmp_path}/wanted"]) == 0
    tables = Tables(spark, f"{tmp_path}/out")
    write_batch, left = Tables.write_batch, [0]

    def write(self: Tables, *args: Any) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write_batch(self, *args)

    committed = []
    for writes in (0, 1, 2, 3 + 1):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Tables, "write_batch", write)
            left[0] = writes
            main([*command, f"output={tmp_path}/out"])
        expected = sum(row["num_frames"] for row in tables.ledger().collect())
        committed.append(expected)
        for name in ("frames", "features"):
            found = tables.current(name).count() if tables.exists(name) else 0
            assert found == expected, name
    assert committed[:3] == [0, 0, 0] and committed[3] in (4, 8)
    assert main([*command, f"output={tmp_path}/out"]) == 0
    without_batches = (contents(spark, tmp_path / name, batches=False) for name in ("out", "wanted"))
    one, other = without_batches
    assert one == other


def test_files_of_two_trainings_are_refused(command, output: Path, capsys) -> None:
    assert main(command("train")) == 0
    saved = saved_model.read(str(output / "model"))
    notes = output / "model" / "metrics.json"
    notes.write_text(json.dumps({**saved.notes, "classifier": "0" * 12}))
    assert main([arg for arg in command("rank") if arg != "--debug"]) == 2
    assert "its metrics.json describes 000000000000: run `framewatch train`" in capsys.readouterr().err
    assert main(command("train")) == 0


def test_a_shared_classifier_has_one_writer(command, output: Path, tmp_path: Path, capsys) -> None:
    shared = f"classifier.path={tmp_path}/shared"
    with locks.exclusive_lock(str(tmp_path), "not this one"):
        assert main([*command("train"), shared]) == 0
    with locks.exclusive_lock(f"{tmp_path}/shared", "train"):
        assert main([arg for arg in [*command("train"), shared] if arg != "--debug"]) == 2
    assert "is in use by another run" in capsys.readouterr().err


def test_frames_without_features_are_counted_and_ranked_when_they_have_some(
    spark, command, output: Path, capsys
) -> None:
    """A batch that was extracted and not featurized, and a frame whose picture could not be decoded."""
    assert main(command("train")) == 0
    tables = Tables(spark, str(output))
    late = {"video": "file:/clips/late.mp4", "status": "ok", "duration_s": 5.0, "num_frames": 5}
    tables.write_ledger([late], 1)
    capsys.readouterr()
    assert main(command("rank")) == 0
    assert "not ranked: 5 frames of 1 videos without features, run `framewatch featurize`" in " ".join(
        capsys.readouterr().out.split()
    )
    about = json.loads((output / "ranking.json").read_text())
    assert about["next_batch"] == 1, "the batch is not marked as ranked"
    assert about["not_ranked"]["new"] == 5
    tables._delete_batch("videos", 1)
    assert main(command("rank")) == 0
    assert "not ranked" not in capsys.readouterr().out
