"""CONTRIBUTING.md against the code: its files, its names, and its map."""

import re
import tomllib

from conftest import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]


def test_every_file_that_it_names_exists() -> None:
    quoted = re.findall(r"`([\w./-]+)`", PAGE) + re.findall(r"\]\(([\w./-]+)\)", PAGE)
    paths = {path for path in quoted if path.endswith("/") or re.search(r"\w\.(py|md|toml)$", path)}
    assert len(paths) > 40
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_each_step_names_what_its_file_holds() -> None:
    steps = re.findall(
        r"^\d\. `(framewatch/[\w/]+\.py|tests/[\w/]+\.py)`: ((?:.|\n(?=  ))*)", PAGE, re.MULTILINE
    )
    names = [(file, name) for file, text in steps for name in re.findall(r"`(_?[A-Z_]{4,})`", text)]
    assert len(names) >= 10
    missing = [
        (file, name)
        for file, name in names
        if name not in (ROOT / file).read_text(encoding="utf-8") and name != "VERB"
    ]
    assert missing == []


def test_the_map_lists_the_folders_in_the_order_of_the_imports() -> None:
    layers = next(contract["layers"] for contract in LAYERS if contract["type"] == "layers")
    order = [name for layer in layers for name in layer.split(" | ")]
    rows = re.findall(r"^\| (`framewatch/.*?) \|", PAGE, re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`framewatch/(\w+)", row)]
    assert listed == order
    starts = next(contract["source_modules"] for contract in LAYERS if contract["type"] == "forbidden")
    without = re.findall(r"^\| (`framewatch/.*?) \| .* \| no \|$", PAGE, re.MULTILINE)
    without = {name for row in without for name in re.findall(r"`framewatch/(\w+)", row)}
    assert without == {module.removeprefix("framewatch.") for module in starts}
