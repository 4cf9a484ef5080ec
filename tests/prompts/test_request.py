"""Requests for classes: what is read, and what is said of a wrong one."""

import pytest

from framewatch.errors import InputError
from framewatch.prompts.request import Prompt, PromptClass, Request, parse_request

GOOD = {
    "classes": [
        {
            "name": "left bag",
            "prompts": [
                "a bag alone",
                {"text": "a suitcase"},
                {"example": "LeftBag1frame0031.jpg"},
                {"image": "bag.jpg"},
            ],
            "not": ["a person with a bag"],
        },
        {"name": "fight", "prompts": ["two people fight"]},
    ],
    "threshold": 60,
    "include_clips": True,
}


def test_a_request_is_read() -> None:
    bag = (
        Prompt("text", "a bag alone"),
        Prompt("text", "a suitcase"),
        Prompt("example", "LeftBag1frame0031.jpg"),
        Prompt("image", "bag.jpg"),
    )
    assert parse_request(GOOD) == Request(
        (
            PromptClass("left bag", bag, (Prompt("text", "a person with a bag"),)),
            PromptClass("fight", (Prompt("text", "two people fight"),), (Prompt("text", "something else"),)),
        ),
        threshold=60.0,
        include_clips=True,
    )


def test_what_is_left_out_has_defaults() -> None:
    request = parse_request({"classes": [{"name": "a", "prompts": ["b"]}]})
    assert (request.threshold, request.include_clips, request.num_prompts) == (75.0, False, 1)


ONE = {"name": "a", "prompts": ["b"]}
BAD = [
    ([], "the request is []: give an object with classes, threshold, include_clips"),
    ({}, "no classes are asked for"),
    ({"classes": {}}, "classes is {}: give a list"),
    ({"clases": []}, "the request has an unknown key 'clases': did you mean 'classes'?"),
    ({"classes": [ONE], "zzz": 1}, "the request has an unknown key 'zzz': choose of classes, threshold"),
    ({"classes": [ONE], "threshold": 101}, "threshold=101 is not valid: give 0 to 100"),
    ({"classes": [ONE], "threshold": "7"}, 'threshold="7" is not valid: give a number from 0 to 100'),
    ({"classes": [ONE], "threshold": True}, "threshold=true is not valid"),
    ({"classes": [ONE], "include_clips": 1}, "include_clips=1 is not valid: give true or false"),
    ({"classes": ["walk"]}, 'a class is "walk": give an object with name, prompts, not'),
    ({"classes": [ONE, ONE]}, "class 'a' is there twice"),
    ({"classes": [{"name": "a"}]}, "class 'a' has no prompts: give a text"),
    ({"classes": [{"prompts": ["b"]}]}, "a class has no name"),
    ({"classes": [{"name": 3, "prompts": ["b"]}]}, "the name of a class is 3: give a text"),
    ({"classes": [{"name": "a", "prompts": "b"}]}, "prompts of class 'a' is \"b\": give a list"),
    ({"classes": [{"name": "a", "prompts": [""]}]}, "a prompt's text is empty: give words"),
    ({"classes": [{"name": "a", "prompts": ["b", "b"]}]}, "class 'a' has the prompt 'b' twice"),
    ({"classes": [{"name": "a", "prompts": [1]}]}, "a prompt of class 'a' is 1: give an object with text"),
    ({"classes": [{"name": "a", "prompts": [{}]}]}, "is {}: give one of text, example and image"),
    ({"classes": [{"name": "a", "prompts": [{"exmple": "b"}]}]}, "did you mean 'example'?"),
    ({"classes": [{"name": "a", "prompts": [{"example": ""}]}]}, "a prompt's example is empty: give a frame"),
    ({"classes": [{"name": "a", "prompts": [{"image": 2}]}]}, "image in a prompt of class 'a' is 2"),
    ({"classes": [{**ONE, "not": []}]}, "not of class 'a' is empty"),
    ({"classes": [{**ONE, "promts": []}]}, "a class has an unknown key 'promts': did you mean 'prompts'?"),
    ({"classes": [{"name": "a", "prompts": [f"b{n}" for n in range(1001)]}]}, "1001 prompts are too many"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "says"), BAD, ids=[says[:50] for _, says in BAD])
def test_a_wrong_request_is_told_in_one_line(bad: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_request(bad)
    said = str(caught.value)
    assert says in said
    assert "\n" not in said
