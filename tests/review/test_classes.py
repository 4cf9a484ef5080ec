"""Classes by prompts on the page, asked by HTTP; test_browser.py has a reviewer in a browser."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT
from page_client import Client

Ask = Callable[..., Any]

EXAMPLES = {"dark": 2, "bright": 17}


@pytest.fixture
def ask(server: str) -> Ask:
    """Asks the page below `classes/`."""
    client = Client(server)
    return lambda path, body=None: client.ask(f"classes/{path}", body)


def example(ask: Ask, video: int, second: int) -> dict[str, str]:
    frames = ask(f"frames/{video}")["frames"]
    assert frames[second]["second"] == second
    return {"example": frames[second]["origin"]}


def request_of(ask: Ask) -> dict:
    classes = [
        {"name": name, "prompts": [example(ask, video, second) for video in (0, 1)]}
        for name, second in EXAMPLES.items()
    ]
    return {"classes": classes, "threshold": 60}


def test_define_run_and_look(ask: Ask, output: Path) -> None:
    found = ask("run", {"request": request_of(ask), "min_duration_ratio": 0})
    assert found["total"] == 3
    video = found["videos"][0]
    its = {it["name"]: it for it in video["classes"]}
    assert its.keys() == {"dark", "bright"}
    for name, second in EXAMPLES.items():
        assert 0 < its[name]["score"] <= 100 and 0 < its[name]["duration_ratio"] < 1
        clip = its[name]["clips"][0]
        assert clip["start_s"] <= second < clip["end_s"]
        prompts = [clip["prompt"] for clip in its[name]["clips"]]
        assert len(set(prompts)) == len(prompts) <= 3
        more = ask(f"{found['id']}/clips/0?class={name}")
        assert more["total"] == its[name]["num_clips"] == len(more["clips"])
    timeline = ask(f"{found['id']}/timeline/0")
    assert timeline["duration_s"] == 20 and timeline["threshold"] == 60
    curve = timeline["classes"]["dark"]
    assert len(curve["times_s"]) == 20 and curve["scores"][2] > curve["scores"][12]
    assert ask(f"{found['id']}/play/0/2.000-5.000.mp4")[4:8] == b"ftyp"
    answer = ask(f"{found['id']}/classifications.json")
    schema = json.loads((ROOT / "docs" / "reference" / "classifications.schema.json").read_text())
    jsonschema.validate(answer, schema)
    rows = list(csv.DictReader(ask(f"{found['id']}/clips.csv").decode().splitlines()))
    assert len(rows) == sum(len(it["clips"]) for video in answer["data"] for it in video["classes"])
    assert {row["class"] for row in rows} == set(EXAMPLES)
    few = ask("run", {"request": request_of(ask), "min_duration_ratio": 0.99})
    assert few["total"] == 0


def test_frames_to_pick_have_pictures(ask: Ask) -> None:
    assert ask("frames/0/3.jpg")[:2] == b"\xff\xd8"
    assert "there is no frame 99" in ask("frames/0/99.jpg")
    assert "there is no video 9" in ask("frames/9")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "is not a JSON object"),
        ({"request": {"classes": []}}, "no classes are asked for"),
        ({"request": {"classes": [{"name": "x", "prompts": ["words"]}]}}, "needs CLIP features"),
        (
            {"request": {"classes": [{"name": "x", "prompts": [{"example": "y"}]}]}},
            "is no frame with features",
        ),
        ({"request": {}, "min_duration_ratio": "all"}, "min_duration_ratio=all is not valid"),
        (
            {"request": {"classes": [{"name": "x", "prompts": [{"example": "y"}], "labels": "verdicts"}]}},
            "the page does not read labels",
        ),
        (
            {"request": {"classes": [{"name": "x", "prompts": [{"image": "/etc/passwd"}]}]}},
            "the page does not read image files",
        ),
        ({"request": {"classes": []}, "classes": []}, "unknown field 'classes': give request, min_"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(ask: Ask, body: Any, told: str) -> None:
    said = ask("run", body)
    assert told in said and "\n" not in said


def test_an_export_runs_nothing_in_a_spreadsheet(ask: Ask) -> None:
    request = request_of(ask)
    request["classes"][0]["name"] = "=HYPERLINK(1)"
    found = ask("run", {"request": request, "min_duration_ratio": 0})
    rows = list(csv.DictReader(ask(f"{found['id']}/clips.csv").decode().splitlines()))
    assert "'=HYPERLINK(1)" in {row["class"] for row in rows}
    assert all(float(row["score"]) > 0 for row in rows)


def test_an_answer_that_is_kept_no_more(ask: Ask) -> None:
    assert ask("nothere/videos") == "the results have expired: run the request again"
