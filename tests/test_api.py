"""The public functions: the examples in their docstrings run, each on what came before."""

import doctest
import inspect
import io
import shutil
from pathlib import Path

import pytest

import framewatch
from framewatch.config import Config
from framewatch.io import terminal

IN_ORDER = ["read_frames", "DeepImageFeaturizer", "join_labels", "train", "score", "rank"]
IN_ORDER += ["find_incidents", "evaluate", "run"]


def test_every_public_name_is_exported_with_a_docstring() -> None:
    names = {name for name in framewatch.__all__ if not name.startswith("_")}
    errors = {name for name in names if name.endswith("Error")}
    assert names - errors == set(IN_ORDER)
    assert set(dir(framewatch)) == set(framewatch.__all__)
    for name in names:
        assert inspect.getdoc(getattr(framewatch, name)), name
    with pytest.raises(AttributeError, match="no attribute 'featurise'"):
        _ = framewatch.featurise


@pytest.mark.parametrize(
    ("name", "sections"),
    [("train", ["classifier"]), ("find_incidents", ["incidents"]), ("evaluate", ["evaluation", "incidents"])],
)
def test_defaults_are_those_of_the_configuration(name: str, sections: list[str]) -> None:
    config = Config().to_dict()
    configured = {key: value for section in sections for key, value in config[section].items()}
    defaults = {
        key: it.default for key, it in inspect.signature(getattr(framewatch, name)).parameters.items()
    }
    shared = configured.keys() & defaults.keys()
    assert len(shared) >= 3
    assert {
        key: list(defaults[key]) if isinstance(configured[key], list) else defaults[key] for key in shared
    } == {key: configured[key] for key in shared}


def test_examples_run_one_after_the_other(
    spark, clips: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(clips, tmp_path / "videos")
    shutil.copy(clips / "labels_train.csv", tmp_path / "labels.csv")
    monkeypatch.chdir(tmp_path)
    # Results of stages go to the terminal, not to the example.
    monkeypatch.setattr(terminal, "console", terminal.Console(file=io.StringIO()))
    scope = {"spark": spark} | {name: getattr(framewatch, name) for name in IN_ORDER}
    small = f'modelName="{model_file}", layer="late"'
    settings = [f"featurizer.model={model_file}", "featurizer.layer=late", "catalog.enabled=false"]
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name in IN_ORDER:
        text = inspect.getdoc(getattr(framewatch, name)) or ""
        # A small network in place of InceptionV3.
        text = text.replace('weights="auto"', small).replace('"output=out"', f'"output=out", *{settings}')
        test = doctest.DocTestParser().get_doctest(text, scope, name, None, None)
        assert test.examples, name
        test.globs = scope  # shared, where doctest copies
        runner.run(test, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)
    assert (tmp_path / "out" / "predictions").is_dir()


def test_a_damaged_video_is_a_row_with_the_reason(spark, clips: Path, tmp_path: Path) -> None:
    whole = (clips / "train" / "Box1.mpg").read_bytes()
    (tmp_path / "cut.mpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mp4").write_bytes(b"no video")
    rows = framewatch.read_frames(spark, str(tmp_path), fps=2, max_side=48).collect()
    errors = {row["video"].rsplit("/", 1)[-1]: row["error"] for row in rows if row["error"]}
    assert errors.keys() == {"cut.mpg", "empty.mp4"}
    pictures = [row for row in rows if not row["error"]]
    assert pictures and all((row["width"], row["height"]) == (48, 32) for row in pictures)
    assert [row["timestamp_s"] for row in pictures] == [number / 2 for number in range(len(pictures))]
    for wrong in ({"fps": 0}, {"jpeg_quality": 101}, {"max_side": 3}):
        with pytest.raises(framewatch.ConfigError, match=f"{next(iter(wrong))}=.* is not valid"):
            framewatch.read_frames(spark, str(tmp_path), **wrong)
