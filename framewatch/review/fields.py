"""Validates request fields. Each route declares its fields; others are rejected before the route runs.

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
    """The type and the constraints of a field.

    Attributes:
        kind: `str`, `int`, `float`, `bool`, or `dict` for JSON that the route validates itself.
        remedy: the remedy in the error message.
        choices: the valid texts; empty for any.
        least: the minimum of a number.
        required: whether a request without the field is rejected.
    """

    kind: type
    remedy: str
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    required: bool = False

    def from_text(self, name: str, text: str) -> Any:
        """Parses and checks the value from a query."""
        try:
            value = self.kind(text) if self.kind in (int, float) else text
        except ValueError:
            value = None
        return self.check(name, value, text)

    def check(self, name: str, value: Any, shown: Any) -> Any:
        """Checks and returns the value.

        Raises:
            InputError: the value is not valid.
        """
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < _LARGEST else math.inf
        valid = type(value) is self.kind
        if valid and self.kind in (int, float):
            valid = -_LARGEST < value < _LARGEST and value >= self.least  # also false for NaN
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


def one_of(choices: tuple[str, ...], *, required: bool = False) -> Field:
    """Returns a text field with these valid values."""
    return Field(str, f"choose one of {', '.join(choices)}", choices, required=required)


@dataclass(frozen=True)
class Fields:
    """The fields of a route's requests; none by default.

    Attributes:
        query: fields of the query, by name.
        json: fields of the body, by name; the body is a JSON object if there are any.
        upload_bytes: maximum size of the body, if it is the content of a file.
    """

    query: Mapping[str, Field] = field(default_factory=dict)
    json: Mapping[str, Field] = field(default_factory=dict)
    upload_bytes: int = 0


def takes(fields: Fields) -> Callable[[_View], _View]:
    """Decorator that declares the fields of a view, which reads them with `given` and `uploaded`."""

    def declare(view: _View) -> _View:
        view.fields = fields  # type: ignore[attr-defined]
        return view

    return declare


def fields_of(app: Flask, endpoint: str) -> Fields:
    """Returns the declared fields of a route."""
    return getattr(app.view_functions[endpoint], "fields", Fields())


def check_fields(app: Flask) -> None:
    """Checks every request of an application before its view runs."""

    @app.before_request
    def check() -> None:
        if request.endpoint is None:
            return
        declared = fields_of(app, request.endpoint)
        g.given = _query(declared.query) | (_body(declared.json) if declared.json else {})


def given() -> dict[str, Any]:
    """Returns the values of the request's fields, without missing, empty (query) and null (JSON) ones."""
    return g.given


def uploaded() -> bytes:
    """Returns the content of the uploaded file."""
    assert request.endpoint is not None
    request.max_content_length = fields_of(current_app, request.endpoint).upload_bytes
    return request.get_data(cache=False)


def _query(fields: Mapping[str, Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, texts in request.args.lists():
        if name == "v":  # a version against stale browser caches
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
    for name, declared in fields.items():
        if declared.required and name not in found:
            raise InputError(f"{name} is missing: {declared.remedy}")
    return {name: fields[name].check(name, value, value) for name, value in found.items()}


def _json_object() -> dict[str, Any]:
    found = None
    if request.is_json:
        data = request.get_data()
        try:
            found = json.loads(data, object_pairs_hook=_unique_names, parse_constant=_reject_constant)
            json.dumps(found, ensure_ascii=False).encode()  # fails for lone surrogates
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        raise InputError("the body is not a JSON object: send the fields as one JSON object")
    return found


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unknown(name: str, fields: Mapping[str, Field]) -> str:
    return f"unknown field '{name[:60]}': " + (f"give {', '.join(fields)}" if fields else "leave it out")


def check_index(number: int, count: int, noun: str) -> int:
    """Returns an index if it is in range; otherwise responds with 404."""
    if number >= count:
        abort(404, f"there is no {noun} {number}: give a number below {count}")
    return number
