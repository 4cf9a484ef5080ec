"""Makes text safe for terminals and logs: names of files and classes may contain any character."""

import re

# Control characters (including escape codes), line separators, bidirectional overrides, and lone surrogates,
# with which Python represents bytes that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Replaces each control character by an escape such as `\n` or `\x1b`, except those in `keep`."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
