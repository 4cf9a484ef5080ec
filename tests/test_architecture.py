"""Rules of docs/architecture.md that import-linter and ruff do not keep."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

FILES = sorted((ROOT / "framewatch").rglob("*.py"))


def modules_after(statement: str) -> set[str]:
    """What is in `sys.modules` after a statement in a new process."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


def test_the_library_keeps_to_dataframes() -> None:
    """Spark Connect has no JVM and no RDDs; Python UDFs move rows one by one.

    One module reads pickles, of PyTorch's checkpoints, and allows four names in them.
    """
    banned = re.compile(r"\b_jvm\b|\b_jsc\b|\.rdd\b|\bF\.udf\b|\bpickle\b")
    assert len(FILES) > 100
    found = [path.name for path in FILES if banned.search(path.read_text(encoding="utf-8"))]
    assert found == ["torch_checkpoints.py"]


@pytest.mark.parametrize(
    "module",
    ["cli.main", "review.server", "search.searcher", "tables.timeline", "report.page", "models.encoder"],
)
def test_what_needs_no_spark_starts_without(module: str) -> None:
    found = modules_after(f"import framewatch.{module}")
    assert f"framewatch.{module}" in found
    assert not {"pyspark", "tensorflow", "openvino", "pymilvus"} & found


def test_decoding_workers_start_fast() -> None:
    """What a task of extraction imports leaves out the libraries that take most of a second."""
    found = modules_after("import framewatch.video.worker")
    assert "framewatch.video.process" in found
    assert not {"pyspark", "pandas", "cv2", "av", "tensorflow"} & found


def test_help_imports_no_heavy_library() -> None:
    found = modules_after(
        "from framewatch.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    )
    assert "framewatch.cli.main" in found
    assert not {"pyspark", "tensorflow", "cv2", "pandas", "numpy", "pyarrow", "omegaconf"} & found
