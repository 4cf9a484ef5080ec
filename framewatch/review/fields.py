"""The fields of requests. A route declares its own; what is not declared is refused before the route runs.

No other module reads a request's query or body. docs/reference/requests.md lists the fields and what each may
reach.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask, abort, current_app, g, request

from framewatch.errors import InputError

_LONGEST_TEXT, _LARGEST = 5000, 2**53
_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Field:
    """What one field may be.

    Attributes:
        kind: its type: `str`, `int`, `float`, `bool`, or `dict` for JSON that the route checks for itself.
        remedy: what to give instead, for the error.
        choices: of a text; empty for any.
        least: of a number.
        required: whether a request without it is refused.
    """

    kind: type
    remedy: str
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    required: bool = False

    def from_text(self, name: str, text: str) -> Any:
        """The value out of a query."""
        try:
            value = self.kind(text) if self.kind in (int, float) else text
        except ValueError:
            value = None
        return self.check(name, value, text)

    def check(self, name: str, value: Any, shown: Any) -> Any:
        """The value, where it is valid.

        Raises:
            InputError: it is not; names the field, what was given, and the remedy.
        """
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < _LARGEST else math.inf
        valid = type(value) is self.kind
        if valid and self.kind in (int, float):
            valid = -_LARGEST < value < _LARGEST and value >= self.least  # false for NaN, too
        if valid and self.kind is str:
            valid = len(value) <= _LONGEST_TEXT and value in (self.choices or (value,))
        if not valid:
            text = shown if isinstance(shown, str) else json.dumps(shown)
            raise InputError(f"{name}={text[:60]} is not valid: {self.remedy}")
        return value


TEXT = Field(str, f"give a text of at most {_LONGEST_TEXT} characters")
NUMBER = Field(float, "give a number")
SECONDS = Field(float, "give seconds, 0 or more", least=0)
WHOLE = Field(int, "give a whole number", least=0)
FLAG = Field(bool, "give true or false")
OBJECT = Field(dict, "give an object")


def choice(choices: tuple[str, ...], *, required: bool = False) -> Field:
    """A text that is one of these."""
    return Field(str, f"choose one of {', '.join(choices)}", choices, required=required)


@dataclass(frozen=True)
class Fields:
    """What a request of one route may hold; without any, nothing.

    Attributes:
        query: by name.
        json: likewise; the body is one JSON object where there are any.
        upload_bytes: the most that the body may have, where it is a file's content.
    """

    query: Mapping[str, Field] = field(default_factory=dict)
    json: Mapping[str, Field] = field(default_factory=dict)
    upload_bytes: int = 0


def takes(fields: Fields) -> Callable[[_View], _View]:
    """Declares the fields of a view; it gets them from `given` and `uploaded`."""

    def declare(view: _View) -> _View:
        view.fields = fields  # type: ignore[attr-defined]
        return view

    return declare


def fields_of(app: Flask, endpoint: str) -> Fields:
    """What the requests of a route may hold."""
    return getattr(app.view_functions[endpoint], "fields", Fields())


def check_fields(app: Flask) -> None:
    """Has every request of an application checked before its view runs."""

    @app.before_request
    def check() -> None:
        if request.endpoint is None:
            return
        its = fields_of(app, request.endpoint)
        g.given = _query(its.query) | (_body(its.json) if its.json else {})


def given() -> dict[str, Any]:
    """The values of the request's fields; what is missing, empty in a query, or null in JSON, is left out."""
    return g.given


def uploaded() -> bytes:
    """The content of the file that the request uploads."""
    assert request.endpoint is not None
    request.max_content_length = fields_of(current_app, request.endpoint).upload_bytes
    return request.get_data(cache=False)


def _query(fields: Mapping[str, Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, texts in request.args.lists():
        if name == "v":  # another one for another file: no browser then shows an old one
            continue
        if name not in fields:
            raise InputError(_unknown(name, fields))
        if len(texts) > 1:
            raise InputError(f"{name} is given {len(texts)} times: give it once")
        if texts[0] != "":
            found[name] = fields[name].from_text(name, texts[0])
    return found


def _body(fields: Mapping[str, Field]) -> dict[str, Any]:
    found = {name: value for name, value in _json_object().items() if value is not None}
    for name in found:
        if name not in fields:
            raise InputError(_unknown(name, fields))
    for name, its in fields.items():
        if its.required and name not in found:
            raise InputError(f"{name} is missing: {its.remedy}")
    return {name: fields[name].check(name, value, value) for name, value in found.items()}


def _json_object() -> dict[str, Any]:
    found = None
    if request.is_json:
        data = request.get_data()
        try:
            found = json.loads(data, object_pairs_hook=_each_once, parse_constant=_refuse)
            json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        raise InputError("the request holds no JSON object: send what the page sends")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _unknown(name: str, fields: Mapping[str, Field]) -> str:
    return f"unknown field '{name[:60]}': " + (f"give {', '.join(fields)}" if fields else "leave it out")


def known(number: int, count: int, what: str) -> int:
    """The number of something that is there; answers 404 where it is not."""
    if number >= count:
        abort(404, f"there is no {what} {number}: there are {count}")
    return number
