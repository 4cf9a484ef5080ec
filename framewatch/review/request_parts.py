"""What requests hold: JSON, and numbers of things."""

from typing import Any

from flask import abort, request

from framewatch.errors import InputError


def json_object() -> dict[str, Any]:
    """It as a dict.

    Raises:
        InputError: there is none.
    """
    said = request.get_json(silent=True)
    if not isinstance(said, dict):
        raise InputError("the request holds no JSON object: send what the page sends")
    return said


def known(number: int, count: int, what: str) -> int:
    """The number of something that is there; answers 404 where it is not."""
    if number >= count:
        abort(404, f"there is no {what} {number}: there are {count}")
    return number
