"""Kinds of events: the regressions on drawn numbers, and `train` and `rank` with labels that name kinds."""

import json
from pathlib import Path

import numpy as np
import pytest
from spark_run import SECONDS, make, usual

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.pipeline import event_kinds
from framewatch.pipeline.event_kinds import Counts
from framewatch.ranking import kinds
from framewatch.ranking.kinds import KindFrames, Kinds
from framewatch.tables import saved_model
from framewatch.tables.spark_tables import Tables

GROUPS, FRAMES = 16, 12
NAMES = ("fight", "fall")


def drawn(strength: float, *, seed: int = 0, block: slice = slice(0, 30)) -> KindFrames:
    """Frames of groups with scenes of their own; each kind shifts one number of a block by so much."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), FRAMES)
    found = random.choice(np.array(["", *NAMES], object), len(groups), p=(0.5, 0.25, 0.25))
    features = random.normal(size=(GROUPS, 34))[groups] + random.normal(size=(len(groups), 34))
    for place, name in enumerate(NAMES):
        features[found == name, block.start + place] += strength
    names = np.array([f"camera {group:02}" for group in groups])
    return KindFrames(features, found, np.ones(len(groups)), names, [slice(0, 30), slice(30, 34)])


def left_out(frames: KindFrames, name: str) -> np.ndarray:
    log_odds = kinds.left_out_log_odds(frames, name, folds=5)
    assert log_odds is not None
    return log_odds


def test_kinds_that_differ_are_told_apart_on_left_out_groups() -> None:
    frames = drawn(5.0)
    log_odds = {name: left_out(frames, name) for name in NAMES}
    for name in NAMES:
        found = kinds.metrics(frames, name, log_odds[name])
        assert found["roc_auc"] > 0.95 and found["average_precision"] > 0.85
        assert found["base_rate"] == pytest.approx(np.mean(frames.kinds == name))
        for metric in ("roc_auc", "average_precision"):
            low, high = found[f"{metric}_interval"]
            assert low <= found[metric] <= high
    table = {row["kind"]: row["named"] for row in kinds.confusion(frames, log_odds)}
    assert set(table) == set(NAMES)
    for place, name in enumerate(NAMES):
        assert sum(table[name]) == np.count_nonzero(frames.kinds == name)
        assert table[name][place] > 0.9 * sum(table[name])
    fitted, test = kinds.fit_kinds(frames, NAMES), drawn(5.0, seed=1)
    best = np.array(NAMES, object)[np.argmax(fitted.log_odds(test.features), axis=1)]
    events = test.kinds != ""
    assert np.mean(best[events] == test.kinds[events]) > 0.9


def test_noise_ranks_as_a_random_order_does() -> None:
    areas = [
        kinds.metrics(frames, name, left_out(frames, name))["roc_auc"]
        for frames in (drawn(0.0, seed=seed) for seed in range(3))
        for name in NAMES
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.07)


def test_a_regression_never_sees_the_group_that_it_scores() -> None:
    """Each group has a number that equals its labels, and is 0 in all other groups."""
    frames = drawn(0.0)
    own = (np.arange(GROUPS)[:, None] == np.repeat(np.arange(GROUPS), FRAMES)).T * (frames.kinds == "fight")[
        :, None
    ]
    leaking = KindFrames(
        np.hstack([frames.features, 100.0 * own]), frames.kinds, frames.weights, frames.groups, frames.blocks
    )
    found = kinds.metrics(leaking, "fight", left_out(leaking, "fight"))
    assert found["roc_auc"] == pytest.approx(0.5, abs=0.12)


def test_a_short_block_counts_as_much_as_a_long_one() -> None:
    for block in (slice(0, 30), slice(30, 34)):
        frames = drawn(5.0, block=block)
        assert kinds.metrics(frames, "fight", left_out(frames, "fight"))["roc_auc"] > 0.95


def test_a_kind_whose_other_frames_are_in_one_group_cannot_be_left_out() -> None:
    frames = drawn(5.0)
    only = np.where(frames.groups == "camera 00", "", "fight").astype(object)
    alone = KindFrames(frames.features, only, frames.weights, frames.groups, frames.blocks)
    assert kinds.left_out_log_odds(alone, "fight", folds=5) is None
    assert kinds.fit_kinds(alone, ["fight"]).log_odds(frames.features).shape == (len(only), 1)


def test_kinds_survive_json_and_are_part_of_their_identity() -> None:
    fitted = kinds.fit_kinds(drawn(5.0), NAMES)
    again = Kinds.of_json(json.loads(json.dumps(fitted.to_json())))
    assert again.names == NAMES and again.content == fitted.content
    swapped = Kinds(("fall", "fight"), fitted.coefficients, fitted.intercepts)
    assert len({fitted.content, swapped.content, kinds.fit_kinds(drawn(4.9), NAMES).content}) == 3


def test_a_kind_needs_two_frames_in_two_groups() -> None:
    counts = Counts(
        {"fight": 2, "theft": 9, "fall": 1, None: 1}, {"fight": 2, "theft": 1, "fall": 1, None: 1}, 5
    )
    assert [counts.reason(kind) for kind in counts.kinds] == [
        None,
        "kind 'theft' has labelled frames in 1 group of videos: 2 are needed to name it",
        "kind 'fall' has 1 labelled frame: 2 are needed to name it",
    ]


def bumped(second: int, seed: int, place: int) -> list[float]:
    """As `usual`, and where it is suspicious the number of a kind is high too."""
    row = usual(second, seed)
    row[place] += 3 * (second >= SECONDS / 2)
    return row


PLACES = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2, "f": 2, "g": 1, "h": 2}


@pytest.fixture(scope="module")
def output(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kinds")
    vectors = {
        name: [bumped(second, seed, place) for second in range(SECONDS)]
        for seed, (name, place) in enumerate(PLACES.items())
    }
    make(spark, root / "out", vectors)
    half, last = SECONDS // 2, SECONDS - 1
    lines = ["video,start_s,end_s,label"]
    for name, place in PLACES.items():
        if name < "g":
            end = {"a": "fall", "f": "1"}.get(name, ("fight", "theft")[place - 1])
            lines += [
                f"{name}.mp4,0,{half},normal",
                f"{name}.mp4,{half},{last},{('fight', 'Theft')[place - 1]}",
            ]
            lines += [f"{name}.mp4,{last},{SECONDS},{end}"]
    text = "\n".join(lines) + "\n"
    (root / "kinds.csv").write_text(text)
    plain = text.replace("fight", "1").replace("Theft", "1").replace("theft", "1").replace("fall", "1")
    (root / "plain.csv").write_text(plain)
    return root / "out"


def run(verb: str, output: Path, labels: str, *more: str) -> None:
    common = ["--debug", "catalog.enabled=false", "ranking.show=0", f"output={output}"]
    assert main([verb, *common, f"labels.{labels}", *more]) == 0


def incidents(tables: Tables) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for row in tables.read("incidents").collect():
        found.setdefault(Path(row["video"]).stem, set()).add(row["kind"])
    return found


def prob2(tables: Tables) -> dict[str, float]:
    return {row["origin"]: row["prob2"] for row in tables.read("predictions").collect()}


def test_kinds_name_incidents_and_change_nothing_else(
    spark, output: Path, capsys: pytest.CaptureFixture
) -> None:
    """The scores of the first ranking are of another classifier, though of equal coefficients."""
    tables = Tables(spark, str(output))
    run("train", output, f"train={output.parent}/plain.csv")
    run("rank", output, "test=null")
    plain = saved_model.require_model(f"{output}/model")
    assert "kinds" not in plain.notes and "kind_overlaps" not in plain.notes["labels"]
    assert not (Path(plain.directory) / "kinds.json").exists()
    assert set().union(*incidents(tables).values()) == {None}
    assert tables.read("scores").where("kinds is not null").count() == 0
    before = prob2(tables)

    run("train", output, f"train={output.parent}/kinds.csv")
    run("rank", output, f"test={output.parent}/kinds.csv")  # `predictions` have kinds of their own
    out = capsys.readouterr().out
    assert "kind 'fall' has 1 labelled frame: 2 are needed to name it" in out
    assert "kinds: Theft (17 frames, ROC AUC " in out and "fight (17 frames, ROC AUC " in out
    saved = saved_model.require_model(f"{output}/model")
    of_kinds = saved.notes["kinds"]
    assert saved.notes["classifier"] != plain.notes["classifier"]
    assert saved.notes["cross_validation"] == plain.notes["cross_validation"]
    assert (Path(saved.directory) / "kinds.json").exists()
    assert of_kinds["named"] == ["Theft", "fight"] and of_kinds["without_kind"] == 1
    assert [(kind["frames"], kind["groups"]) for kind in of_kinds["kinds"]] == [(17, 3), (17, 3), (1, 1)]
    assert min(kind["roc_auc"] for kind in of_kinds["kinds"][:2]) > 0.95
    assert [row["kind"] for row in of_kinds["confusion"]] == ["fight", "fall", "Theft"]
    card = (output / "model" / "model_card.md").read_text()
    assert "## Kinds of events" in card and "| labelled | Theft | fight |" in card
    assert "- Kind 'fall' has 1 labelled frame: 2 are needed to name it." in card

    expected = {name: {("fight", "Theft")[place - 1]} for name, place in PLACES.items()}
    assert incidents(tables) == expected and prob2(tables) == before
    rows = tables.read("predictions").where("prediction = 1").collect()
    assert all({row["kind"]} == expected[Path(row["video"]).stem] for row in rows)
    assert {len(row["kinds"]) for row in tables.read("scores").collect()} == {2}
    assert tables.read("candidates").where("kind is null").count() == 0
    assert "kind of event" in (output / "report" / "index.html").read_text()


def test_verdicts_and_samples_of_many_frames(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts leave the kind of a frame, as long as they are suspicious."""
    monkeypatch.setattr(event_kinds, "_MOST_FRAMES", 5)
    log, half = VerdictLog(str(output)), SECONDS / 2
    video = f"file:{output.parent}/videos/b.mp4"
    for begin, end, answer in ((half, half + 2, "suspicious"), (half + 2, half + 3, "not")):
        log.append(Verdict(video=video, start_s=begin, end_s=end, answer=answer, reviewer="ann"))
    run("train", output, f"train={output.parent}/kinds.csv", "--with-verdicts", "evaluation.folds=0")
    card = (output / "model" / "model_card.md").read_text()
    assert "| Theft | 17 | 3 |  |  |  | evaluation.folds=0 |" in card
    assert "| fight | 16 | 3 |  |  |  | evaluation.folds=0 |" in card
    assert "At most 5 frames of a kind, drawn at random, are used." in card
    saved = saved_model.require_model(f"{output}/model")
    named = Kinds.of_json(json.loads((Path(saved.directory) / "kinds.json").read_text()))
    theft = bumped(SECONDS, 20, PLACES["d"])
    assert named.names[int(np.argmax(named.log_odds(np.array([theft]))))] == "Theft"
