"""The package: what is built, what an install holds, and what an install without PySpark answers."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pyarrow.dataset
import pytest
import yaml
from conftest import FAST_OVERRIDES, ROOT

import framewatch

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NO_PYSPARK = "error: PySpark is not installed: pip install 'framewatch[spark]'"


def finished(command: list[str | Path], **options: object) -> subprocess.CompletedProcess:
    """Runs a command, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist of a copy of the package. The wheel is built from the sdist."""
    copied = tmp_path_factory.mktemp("package")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    shutil.copytree(ROOT / "framewatch", copied / "framewatch", ignore=shutil.ignore_patterns("__pycache__"))
    # Isolation would download setuptools.
    finished([sys.executable, "-m", "build", "--no-isolation", copied])
    (wheel,), (sdist,) = (copied / "dist").glob("*.whl"), (copied / "dist").glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def metadata(built: tuple[Path, Path]) -> Message:
    wheel, _ = built
    with zipfile.ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(opened.read(name).decode())


def test_an_index_would_accept_both(built: tuple[Path, Path]) -> None:
    finished([sys.executable, "-m", "twine", "check", "--strict", *built])


def test_wheel_and_sdist_hold_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    wheel, sdist = built
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "framewatch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for part in (
        "report/templates",
        "review/static",
        "log4j2.properties",
        "imagenet_classes.csv",
        "py.typed",
    ):
        assert any(part in name for name in files), part
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = set(opened.namelist())
    with tarfile.open(sdist) as opened:
        in_sdist = {name.partition("/")[2] for name in opened.getnames()}
    assert sorted(files - in_wheel) == []
    assert sorted((files | {"setup.py", "pyproject.toml", "README.md", "LICENSE"}) - in_sdist) == []
    top = {name.partition("/")[0] for name in in_wheel}
    assert top == {"framewatch", f"framewatch-{framewatch.__version__}.dist-info"}


def test_the_version_is_that_of_the_module(metadata: Message) -> None:
    assert metadata["Version"] == framewatch.__version__
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_newest_release_is_in_the_changelog_and_the_citation() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = re.search(r"^## \[(\d[\w.]*)\] - ([\d-]+)$", changelog, re.MULTILINE).groups()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (str(citation["version"]), str(citation["date-released"])) == (version, date)
    assert framewatch.__version__ == version


def test_only_extras_require_pyspark(metadata: Message) -> None:
    needs = metadata.get_all("Requires-Dist", [])
    assert any(need.startswith("numpy") for need in needs)
    assert [need for need in needs if need.startswith("pyspark") and "extra ==" not in need] == []
    assert [need for need in needs if need.startswith("pyspark")] == ['pyspark<5,>=3.5; extra == "spark"']


def test_extras_include_only_extras_that_exist() -> None:
    extras = PROJECT["optional-dependencies"]
    own = [need for needs in extras.values() for need in needs if need.startswith("framewatch[")]
    included = {name for need in own for name in need.removeprefix("framewatch[").rstrip("]").split(",")}
    assert included and sorted(included - set(extras)) == []


# Without PySpark

_WITHOUT = """
import sys
sys.modules["pyspark"] = None  # importing it raises ModuleNotFoundError
from framewatch.cli.main import main
for line in sys.argv[1:]:
    print(main(line.split()), flush=True)
"""


def answers(*lines: str, cwd: Path, **env: str) -> tuple[list[str], list[str]]:
    """Exit codes, and lines of stderr, of verbs in a process that finds no PySpark."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = finished([sys.executable, "-c", _WITHOUT, *lines], cwd=cwd, env=environment)
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_without_pyspark_each_verb_that_needs_it_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"classes": [{"name": "a", "prompts": [{"text": "a"}]}]}')
    verbs = ["ingest", "extract", "featurize", "train", "rank", "quantize", "run", "run --watch"]
    verbs += ["classify out --classes classes.json", "ask out a", "explore out"]
    codes, errors = answers(*verbs, cwd=tmp_path)
    assert codes == ["2"] * len(verbs)
    assert errors == [NO_PYSPARK] * len(verbs)


def test_without_pyspark_the_other_verbs_go_further(tmp_path: Path) -> None:
    codes, errors = answers(
        "search out --frame a", "index out", "review out", "report out", "timeline a", cwd=tmp_path
    )
    assert codes == ["2"] * 5 and len(errors) == 5
    assert all("PySpark" not in line and "out" in line for line in errors), errors


def test_submit_without_pyspark_takes_the_spark_of_spark_home(tmp_path: Path) -> None:
    codes, errors = answers("submit --dry-run job.py", cwd=tmp_path, SPARK_HOME="")
    assert codes == ["2"] and errors == [f"{NO_PYSPARK}, or set SPARK_HOME"]
    program = tmp_path / "bin" / "spark-submit"
    program.parent.mkdir()
    program.touch()
    printed, errors = answers("submit --dry-run job.py", cwd=tmp_path, SPARK_HOME=str(tmp_path))
    assert errors == [] and printed[0].endswith(f"{program} job.py") and printed[1] == "0"


# An install


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of programs of an environment with the wheel.

    Its dependencies are those of the tests' environment. The editable install there stays out, because Python
    reads no .pth files of a directory that a .pth file adds.
    """
    wheel, _ = built
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, with_pip=False)
    programs = directory / "bin"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    finished([sys.executable, "-m", "pip", "--python", str(programs / "python"), *install])
    (site,) = (directory / "lib").glob("python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return programs


def clean_environment(home: Path) -> dict[str, str]:
    """What a new shell has, and the cache of converted networks."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "FRAMEWATCH_HOME": os.environ["FRAMEWATCH_HOME"]}


@pytest.mark.system
def test_an_installed_wheel_runs_the_whole_job(
    installed: Path, labelled: list[str], model_file: Path, tmp_path: Path
) -> None:
    def run(*command: str | Path) -> str:
        return finished(list(command), cwd=tmp_path, env=clean_environment(tmp_path)).stdout

    where = run(installed / "python", "-c", "import framewatch; print(framewatch.__file__)").strip()
    assert Path(where).is_relative_to(installed.parent)
    assert run(installed / "framewatch", "--version") == f"framewatch {framewatch.__version__}\n"
    settings = ["spark.master=local[2]", "evaluation.folds=0", "classifier.max_iter=3"]
    model = [f"featurizer.model={model_file}", "featurizer.layer=late"]
    run(installed / "framewatch", "run", *labelled, *model, *settings, *FAST_OVERRIDES, "output=out")
    assert pyarrow.dataset.dataset(tmp_path / "out" / "predictions").count_rows() == 4
    assert "<html" in (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
