"""The documentation: what its pages claim of the code, and that the site builds without a warning."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
import yaml
from conftest import ROOT

import framewatch
from framewatch.cli.main import _parser
from framewatch.config import Config, all_keys
from framewatch.tables import columns as table_columns
from framewatch.tables import views

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
REFERENCE = DOCS / "reference"


def sections_of(page: Path, level: int) -> dict[str, str]:
    text = page.read_text(encoding="utf-8")
    parts = re.split(rf"^{'#' * level} (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere_in_the_repository(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), f"{page.name} links to {target}"


def test_files_named_in_code_and_configuration_exist() -> None:
    files = [
        *(ROOT / "framewatch").rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "conf").glob("*"),
    ]
    files += [*(ROOT / "benchmarks").glob("*.py"), ROOT / "databricks.yml", ROOT / "Makefile"]
    for file in files:
        for named in re.findall(r"\bdocs/[\w/.-]+\.(?:md|json|py)\b", file.read_text(encoding="utf-8")):
            assert (ROOT / named).is_file(), f"{file.relative_to(ROOT)} names {named}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "reference" / "cli" / "index.html").read_text("utf-8").count("framewatch search") > 2
    api = (tmp_path / "reference" / "api" / "index.html").read_text("utf-8")
    public = {name for name in framewatch.__all__ if not name.startswith("__")}
    assert {name for name in public if f'id="framewatch.{name}"' not in api} == set()
    assert (tmp_path / "repository" / "conf" / "cluster.yaml").is_file()


def test_every_verb_and_job_is_in_the_table_of_verbs() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    verbs = next(action for action in _parser()._actions if action.dest == "verb").choices
    assert set(re.findall(r"^\| `framewatch (\w+)` \|", page, re.MULTILINE)) == verbs.keys()
    assert set(re.findall(r"`jobs/(\w+\.py)`", page)) == {job.name for job in (ROOT / "jobs").glob("*.py")}


def test_the_reference_of_verbs_has_every_option(hooks: ModuleType) -> None:
    assert hooks.CLI_MARK in (DOCS / hooks.CLI_PAGE).read_text(encoding="utf-8")
    text = hooks.cli_reference()
    verbs = next(action for action in _parser()._actions if action.dest == "verb").choices
    for verb, parser in verbs.items():
        section = text.split(f"## `framewatch {verb}`\n")[1].split("\n## ")[0]
        everywhere = text.split("\n## ")[0]
        for action in parser._actions:
            for option in action.option_strings if "SUPPRESS" not in str(action.help) else []:
                assert option in ("-h", "--help") or option in section + everywhere, (verb, option)
    assert "SUPPRESS" not in text and "%(" not in text


def test_the_page_of_configuration_has_every_key_with_its_default() -> None:
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", page, flags=re.MULTILINE))
    assert sorted(rows) == sorted(all_keys())
    for key, shown in rows.items():
        default: Any = Config()
        for name in key.split("."):
            default = getattr(default, name)
        if default is not None and default != [] and default != {}:  # else words say what is done without
            assert yaml.safe_load(shown.strip("`")) == default, key


def test_the_page_of_tables_has_every_column() -> None:
    tables, shown_views = (
        (REFERENCE / "tables.md").read_text("utf-8").split("\n## Tables\n")[1].split("\n## Views\n")
    )
    sections = re.split(r"^### `(\w+)`\n", tables, flags=re.MULTILINE)[1:]
    documented = dict(zip(sections[::2], sections[1::2], strict=True))
    for table, section in documented.items():
        cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
        columns = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
        assert sorted(columns) == sorted(getattr(table_columns, table.upper()).names), table
    schemas = {name.lower() for name, it in vars(table_columns).items() if isinstance(it, pa.Schema)}
    assert documented.keys() == schemas - {"listing"}
    known = {"predictions": "p", "incidents": "i", "videos": "v"}
    assert set(re.findall(r"^### `(\w+)`", shown_views, re.MULTILINE)) == views.selects(known).keys()


def test_examples_of_requests_and_answers_are_valid() -> None:
    schemas = {name: json.loads((REFERENCE / f"{name}.schema.json").read_text()) for name in (
        "classes", "classifications"
    )}  # fmt: skip
    blocks = [
        block for page in PAGES for block in re.findall(r"```json\n(\{.*?)```", page.read_text("utf-8"), re.S)
    ]
    assert len(blocks) >= 3
    for block in blocks:
        example = json.loads(block)
        jsonschema.validate(example, schemas["classes" if "classes" in example else "classifications"])


def test_the_page_of_the_architecture_has_every_room() -> None:
    """And in the order of the layers that import-linter keeps."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    level = {room.strip(): number for number, rooms in enumerate(layers) for room in rooms.split("|")}
    table = sections_of(DOCS / "architecture.md", 2)["Rooms"]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    rooms = [room for row in rows for room in re.findall(r"`(\w+)(?:/|\.py)`", row) if room != "jobs"]
    assert rooms == sorted(rooms, key=level.__getitem__)
    assert set(rooms) == level.keys()
    for module in re.findall(r"`((?:review|feedback)/\w+)`", (DOCS / "architecture.md").read_text("utf-8")):
        assert (ROOT / "framewatch" / f"{module}.py").is_file(), module
