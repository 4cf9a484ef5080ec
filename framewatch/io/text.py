"""Makes text safe for terminals and logs: names of files and classes may hold any character."""

import re

# Controls (escape codes among them), line separators, overrides of the writing direction, and halves of
# surrogate pairs, by which Python stands for bytes that are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Writes each control character as an escape such as `\n` or `\x1b`; those in `keep` stay."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
