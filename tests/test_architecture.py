"""The rules of docs/architecture.md, kept by reading the code: who imports whom, and how long things are."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FILES = sorted((ROOT / "framewatch").rglob("*.py"))
STAGES = {"listing", "frames", "labels", "classifier", "ranking", "incidents", "evaluation", "catalog"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "framewatch").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, `from x import y` as x.y."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    return {name.removeprefix("framewatch.") for name in imports_of(path) if name.startswith("framewatch.")}


def room(name: str) -> str:
    return name.split(".")[0]


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 20
    assert "errors.VideoError" in ours(ROOT / "framewatch" / "video" / "probe.py")


def test_errors_and_schema_stand_alone() -> None:
    assert ours(ROOT / "framewatch" / "errors.py") == set()
    assert {room(name) for name in ours(ROOT / "framewatch" / "schema.py")} <= {"errors"}


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in FILES
        if module_name(path).startswith(("video", "samples"))
        or module_name(path) in ("images", "label_files", "label_names", "io.csv_text")
    ]
    + [
        ROOT / "framewatch" / "featurizer" / f"{name}.py"
        for name in ("conversion", "engines", "imagenet", "models", "networks", "nsfwjs", "spec", "weights")
    ],
    ids=module_name,
)
def test_no_spark_here(path: Path) -> None:
    assert not [name for name in imports_of(path) if name.startswith("pyspark")]
    assert {room(name) for name in ours(path)} <= {
        "errors",
        "images",
        "io",
        "storage",
        "video",
        "featurizer",
        "samples",
    }


def test_stages_meet_only_in_the_tables() -> None:
    for stage in STAGES:
        others = {room(name) for name in ours(ROOT / "framewatch" / f"{stage}.py")} & (STAGES - {stage})
        assert not others, f"{stage} imports {others}"


def test_only_the_outside_reads_configuration_and_builds_sessions() -> None:
    allowed = {"config", "pipeline", "cli", "cli_common", "notebook", "spark"}
    for path in FILES:
        if room(module_name(path)) not in allowed:
            assert not {"config", "session"} & {room(name) for name in ours(path)}, path


def test_nothing_imports_jobs() -> None:
    for path in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        assert not [name for name in imports_of(path) if room(name) == "jobs"], path


def test_the_library_keeps_to_dataframes() -> None:
    banned = re.compile(r"\b_jvm\b|\b_jsc\b|\.rdd\b|\bF\.udf\b|\bpickle\b")
    for path in FILES:
        assert not banned.search(path.read_text(encoding="utf-8")), path


def test_functions_modules_and_jobs_stay_short() -> None:
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        assert source.count("\n") <= 300, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{path}: {node.name}"
    for job in (ROOT / "jobs").glob("*.py"):
        assert len(job.read_text().splitlines()) <= 40, job


def test_public_names_have_docstrings() -> None:
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_decoding_workers_start_fast() -> None:
    """What a task of extraction imports leaves out the libraries that take most of a second."""
    code = "import sys, framewatch.video.worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "framewatch.video.process" in modules.split()
    assert not {"pyspark", "pandas", "cv2", "av", "tensorflow"} & set(modules.split())
