"""The answer's shape, and its pages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.errors import InputError
from framewatch.prompts.class_clips import ClassClip
from framewatch.prompts.response import Given, PromptClip, VideoClasses, make_response

CLIP = PromptClip("a bag alone", ClassClip(1.00004, 4.5, 81.239))
FOUND = [
    VideoClasses("file:/a.mp4", (Given("left bag", 81.239, 2 / 3, (CLIP,)), Given("walk", 75, 0.5))),
    VideoClasses("file:/b.mp4", (Given("walk", 99, 1.0, calibrated=True),)),
]


def test_the_known_shape() -> None:
    page = make_response(FOUND, include_clips=True, limit=1)
    assert page["data"] == [
        {
            "video_id": "file:/a.mp4",
            "classes": [
                {
                    "name": "left bag",
                    "score": 81.24,
                    "duration_ratio": 0.6667,
                    "calibrated": False,
                    "clips": [{"start": 1.0, "end": 4.5, "prompt": "a bag alone", "score": 81.24}],
                },
                {"name": "walk", "score": 75, "duration_ratio": 0.5, "calibrated": False, "clips": []},
            ],
        }
    ]
    assert (page["page_info"]["limit_per_page"], page["page_info"]["total_results"]) == (1, 2)
    last = make_response(FOUND, include_clips=False, limit=1, token=page["page_info"]["next_page_token"])
    assert last["data"][0]["classes"] == [
        {"name": "walk", "score": 99, "duration_ratio": 1.0, "calibrated": True}
    ]
    assert last["page_info"]["next_page_token"] is None
    json.dumps([page, last], allow_nan=False)


@given(total=st.integers(0, 40), limit=st.integers(1, 50))
def test_pages_hold_every_result_once(total: int, limit: int) -> None:
    found = [VideoClasses(f"v{n}", ()) for n in range(total)]
    seen, token, pages = [], None, 0
    while pages == 0 or token is not None:
        page = make_response(found, include_clips=False, limit=limit, token=token)
        seen += [it["video_id"] for it in page["data"]]
        token, pages = page["page_info"]["next_page_token"], pages + 1
        assert page["page_info"]["total_results"] == total
    assert seen == [it.video for it in found]
    assert pages == max(1, -(-total // limit))


@pytest.mark.parametrize("token", ["", "x", "é", "MTI6YWJj", "a" * 300])
def test_a_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="is not of these results: begin again"):
        make_response(FOUND, include_clips=False, limit=1, token=token)


def test_a_token_of_results_that_have_changed_is_refused() -> None:
    token = make_response(FOUND, include_clips=False, limit=1)["page_info"]["next_page_token"]
    with pytest.raises(InputError, match="is not of these results"):
        make_response(FOUND[::-1], include_clips=False, limit=1, token=token)


def test_a_limit_is_positive() -> None:
    with pytest.raises(InputError, match="page limit 0 is not valid: give 1 or more"):
        make_response(FOUND, include_clips=False, limit=0)
