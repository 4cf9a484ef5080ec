"""Matches names in label files with paths in tables. Does not import Spark.

A name is the end of a path. Both sides are compared in three forms, the strictest first: as written; in
composed Unicode (NFC) with backslashes replaced by slashes; and ignoring case.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import NamedTuple

# Windows drives are not schemes: `C:\\a.mp4` is a path below a directory `C:`.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
_SEPARATOR = re.compile(r"[/\\]")


class Forms(NamedTuple):
    """One name in three forms; names that are equal in one form are equal in the following ones."""

    exact: str
    composed: str
    caseless: str


def forms(name: str) -> Forms:
    """Returns the forms of a name, or of the end of a path."""
    # Spreadsheets prefix these characters with a quote, so that a name is not taken for a formula.
    plain = re.sub(r"^'(?=[=+\-@\t\r])", "", name).replace("\\", "/").strip()
    composed = unicodedata.normalize("NFC", plain)
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", composed).casefold())
    return Forms(name, composed, folded)


def trimmed(path: str) -> str:
    """Returns a path or URI without scheme, leading `./` and repeated slashes."""
    path = _SCHEME.sub("/", path, count=1) if _SCHEME.match(path) else path
    return re.sub(r"([/\\])[/\\]+", r"\1", re.sub(r"^\s*(?:\.[/\\]+)+", "", path))


def depth(path: str) -> int:
    """Returns the number of components of a trimmed path; the root of an absolute path counts as one."""
    return len(_SEPARATOR.findall(path)) + 1


def ends(path: str, depths: Collection[int], suffixes: Collection[str]) -> Iterator[tuple[bool, Forms]]:
    """Yields the endings of a path with these numbers of components, with and without a known suffix.

    Yields:
        Whether the suffix is kept, and the forms of the ending.
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
