"""Defines requests: classes, each with prompts that describe it."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from framewatch.errors import InputError
from framewatch.io.redact import redact

# The text that text prompts are compared with, if the class gives no negatives.
SOMETHING_ELSE = "something else"
_MOST_PROMPTS = 1000

Kind = Literal["text", "example", "image"]
_REMEDIES: dict[Kind, str] = {
    "text": "words that say what is to be seen",
    "example": "a frame's name, such as LeftBag1frame0031.jpg",
    "image": "a file, such as photo.jpg",
}


@dataclass(frozen=True)
class Prompt:
    """A description of a class.

    Attributes:
        kind: `text` for words, `example` for a frame with features, `image` for a picture file.
        value: the words; the frame's origin or the end of it, such as `LeftBag1frame0031.jpg`; or the file.
    """

    kind: Kind
    value: str

    def __post_init__(self) -> None:
        if not self.value.strip():
            raise InputError(f"a prompt's {self.kind} is empty: give {_REMEDIES[self.kind]}, or leave it out")

    def __str__(self) -> str:
        return redact(self.value) if self.kind == "image" else self.value


@dataclass(frozen=True)
class PromptClass:
    """A class and its prompts.

    Attributes:
        name: name of the class.
        prompts: one or more prompts, which describe the class together.
        negatives: texts that the class's text prompts are compared with.
        labels: a CSV file of labels, 1 for frames of the class; or `verdicts` for the reviewers' verdicts;
            None for no calibration.
    """

    name: str
    prompts: tuple[Prompt, ...]
    negatives: tuple[Prompt, ...] = (Prompt("text", SOMETHING_ELSE),)
    labels: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("a class has no name: give it one")
        if not self.prompts:
            raise InputError(f"class '{self.name}' has no prompts: give a text, or a frame that shows it")
        if len(set(self.prompts)) < len(self.prompts):
            twice = next(prompt for prompt in self.prompts if self.prompts.count(prompt) > 1)
            raise InputError(f"class '{self.name}' has the prompt '{twice}' twice: leave one out")
        if self.labels is not None and not self.labels.strip():
            raise InputError(f"labels of class '{self.name}' are empty: give a CSV file, or leave them out")


@dataclass(frozen=True)
class Request:
    """The classes to look for.

    Attributes:
        classes: one or more classes with unique names.
        threshold: minimum score of a matching frame, 0 to 100.
        include_clips: whether the response lists clips.
    """

    classes: tuple[PromptClass, ...]
    threshold: float = 75.0
    include_clips: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise InputError("no classes are asked for: give one or more, each with a name and prompts")
        names = [prompt_class.name for prompt_class in self.classes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"class '{twice}' is there twice: give each name once, with all of its prompts")
        if not 0 <= self.threshold <= 100:
            raise InputError(f"threshold={self.threshold:g} is not valid: give 0 to 100")
        if self.num_prompts > _MOST_PROMPTS:
            raise InputError(
                f"{self.num_prompts} prompts are too many at once: ask for {_MOST_PROMPTS} at most"
            )

    @property
    def num_prompts(self) -> int:
        """Total number of prompts of all classes."""
        return sum(len(prompt_class.prompts) for prompt_class in self.classes)


def parse_request(found: Any) -> Request:
    """Converts parsed JSON to a request; docs/reference/classes.schema.json describes the format.

    Raises:
        InputError: a part of the request is not valid; the message names it.
    """
    fields = _object(found, "the request", ("classes", "threshold", "include_clips"))
    threshold, include_clips = fields.get("threshold", 75.0), fields.get("include_clips", False)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise InputError(f"threshold={json.dumps(threshold)} is not valid: give a number from 0 to 100")
    if not isinstance(include_clips, bool):
        raise InputError(f"include_clips={json.dumps(include_clips)} is not valid: give true or false")
    classes = _list(fields.get("classes", []), "classes")
    return Request(tuple(_class(entry) for entry in classes), float(threshold), include_clips)


def _class(found: Any) -> PromptClass:
    fields = _object(found, "a class", ("name", "prompts", "not", "labels"))
    name = _string(fields.get("name", ""), "the name of a class")
    of = f"class '{name}'"
    prompts = tuple(_prompt(entry, of) for entry in _list(fields.get("prompts", []), f"prompts of {of}"))
    labels = _string(fields["labels"], f"labels of {of}") if "labels" in fields else None
    if "not" not in fields:
        return PromptClass(name, prompts, labels=labels)
    negatives = _list(fields["not"], f"not of {of}")
    if not negatives:
        raise InputError(f"not of {of} is empty: give a text that describes the rest, or leave it out")
    texts = tuple(Prompt("text", _string(text, f"not of {of}")) for text in negatives)
    return PromptClass(name, prompts, texts, labels)


def _prompt(found: Any, of: str) -> Prompt:
    if isinstance(found, str):
        return Prompt("text", found)
    fields = _object(found, f"a prompt of {of}", tuple(_REMEDIES))
    if len(fields) != 1:
        raise InputError(f"a prompt of {of} is {json.dumps(found)}: give one of text, example and image")
    kind, value = next((kind, fields[kind]) for kind in _REMEDIES if kind in fields)
    return Prompt(kind, _string(value, f"{kind} in a prompt of {of}"))


def _object(found: Any, what: str, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise InputError(f"{what} is {_shown(found)}: give an object with {', '.join(keys)}")
    for key in found:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            remedy = f"did you mean '{near[0]}'?" if near else f"choose of {', '.join(keys)}"
            raise InputError(f"{what} has an unknown key '{key}': {remedy}")
    return found


def _list(found: Any, what: str) -> Sequence[Any]:
    if not isinstance(found, list):
        raise InputError(f"{what} is {_shown(found)}: give a list")
    return found


def _string(found: Any, what: str) -> str:
    if not isinstance(found, str):
        raise InputError(f"{what} is {_shown(found)}: give a text")
    return found


def _shown(found: Any) -> str:
    return json.dumps(found)[:60]
