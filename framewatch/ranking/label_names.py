"""How names in label files match paths in tables. Does not import Spark.

A name is the end of a path. Names of both sides are compared in three forms, the strictest first: as written;
in composed Unicode with slashes for backslashes; and without regard to case.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import NamedTuple

# Without drives: `C:\\a.mp4` is a path below a directory `C:`.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
_SEPARATOR = re.compile(r"[/\\]")


class Forms(NamedTuple):
    """One name in its three forms: equal in a form means equal in those after it."""

    exact: str
    composed: str
    caseless: str


def forms(name: str) -> Forms:
    """The forms of a name, or of the end of a path."""
    # A quote before these signs keeps spreadsheets from taking a name for a formula.
    plain = re.sub(r"^'(?=[=+\-@\t\r])", "", name).replace("\\", "/").strip()
    composed = unicodedata.normalize("NFC", plain)
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", composed).casefold())
    return Forms(name, composed, folded)


def trimmed(path: str) -> str:
    """A path or URI without scheme, leading `./` and repeated slashes."""
    path = _SCHEME.sub("/", path, count=1) if _SCHEME.match(path) else path
    return re.sub(r"([/\\])[/\\]+", r"\1", re.sub(r"^\s*(?:\.[/\\]+)+", "", path))


def depth(path: str) -> int:
    """The number of components of a trimmed path; the root of an absolute one counts."""
    return len(_SEPARATOR.findall(path)) + 1


def ends(path: str, depths: Collection[int], suffixes: Collection[str]) -> Iterator[tuple[bool, Forms]]:
    """Ends of a path with so many components: each whole, and without a known suffix of its file name.

    Yields:
        Whether it is whole, and its forms.
    """
    path = trimmed(path)
    separators = [match.start() for match in _SEPARATOR.finditer(path)]
    stem, dot, suffix = path.rpartition(".")
    has_stem = bool(dot) and suffix.lower() in suffixes and not _SEPARATOR.match(stem[-1:] or "/")
    for wanted in depths:
        if wanted > len(separators) + 1:
            continue
        start = separators[-wanted] + 1 if wanted <= len(separators) else 0
        yield True, forms(path[start:])
        if has_stem:
            yield False, forms(stem[start:])
