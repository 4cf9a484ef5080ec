"""Configuration: layers, types, and errors that help."""

from pathlib import Path

import pytest
from conftest import ROOT

from framewatch.config import Config, all_keys, load_config
from framewatch.errors import ConfigError


def test_layers_defaults_file_overrides(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("output: out/a\nsampling:\n  fps: 2\nspark:\n  conf:\n    spark.x.y: 1\n")
    config = load_config(file, ["sampling.fps=4", "videos.train=*.mpg", "spark.conf.spark.a.b=c"])
    assert (config.output, config.sampling.fps, config.videos.train) == ("out/a", 4.0, ["*.mpg"])
    assert config.spark.conf == {"spark.x.y": "1", "spark.a.b": "c"}
    assert config.frames.jpeg_quality == 95


def test_lists_and_last_override_wins() -> None:
    config = load_config(None, ["videos.train=[a, b]", "sampling.fps=2", "sampling.fps=3"])
    assert config.videos.train == ["a", "b"]
    assert config.sampling.fps == 3


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sampling.fsp=2", "unknown configuration key 'sampling.fsp': did you mean sampling.fps?"),
        ("featurizer.wieghts=x", "did you mean featurizer.weights?"),
        ("weights=x", "did you mean featurizer.weights?"),
        ("videos={trian: x}", "unknown configuration key 'videos.trian': did you mean videos.train?"),
        ("sampling.fps=abc", "sampling.fps=abc has the wrong type: it must be a number"),
        ("frames.jpeg_quality=9.5", "it must be a whole number"),
        ("frames.write_images=maybe", "it must be true or false"),
        ("videos.train=3", "it must be a list"),
        ("output=null", "it must be text"),
        ("sampling.fps=-1", "above 0"),
        ("sampling.fps=.nan", "above 0"),
        ("frames.jpeg_quality=0", "1 to 100"),
        ("features.precision=int4", "choose one of single, half"),
        ("extract.mode=foo", "choose one of resume, retry, overwrite"),
        ("classifier.elastic_net_param=2", "0 to 1"),
        ("sampling=3", "is a section"),
        ("nope", "write key=value"),
        ("ranking.threshold=high", "give a probability, 0 to 1, or auto"),
        ("ranking.threshold=2", "give a probability, 0 to 1, or auto"),
        ("ranking.threshold=true", "it must be a number"),
        ("ranking.recall=0", "above 0 and up to 1"),
        ("ranking.budget_minutes=0", "give minutes above 0"),
        ("evaluation.budgets_minutes=[0]", "give minutes above 0"),
        ("review.random_share=0.95", "with review.uncertain_share, give at most 1"),
        ("classifier.verdict_weight=0", "give more than 0"),
        ("classifier.calibration=maybe", "choose one of auto, none, platt, isotonic"),
        ("evaluation.prevalence=0", "give a share, above 0 and up to 1"),
    ],
)
def test_errors_name_key_value_and_remedy(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "\xff"])
def test_files_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(file)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config("conf/nope.yaml")


def test_hash_tells_configurations_apart() -> None:
    assert load_config(None, ["sampling.fps=1"]).sha256() == Config().sha256()
    assert load_config(None, ["sampling.fps=2"]).sha256() != Config().sha256()


@pytest.mark.parametrize("name", ["demo", "local", "cluster", "databricks"])
def test_shipped_files_are_valid(name: str) -> None:
    assert isinstance(load_config(ROOT / "conf" / f"{name}.yaml"), Config)


def test_every_key_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    assert [key for key in all_keys() if f"`{key}`" not in page] == []
