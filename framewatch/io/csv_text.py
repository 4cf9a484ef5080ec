"""Reads and writes CSV files of spreadsheets: encodings, delimiters, records, and escaped formulas."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from framewatch.errors import InputError

_DELIMITERS = ",;\t"
# UTF-32 comes first, because its byte order mark begins with that of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CODE_PAGES = {"cp1252": "Windows-1252", "cp1251": "Windows-1251", "cp1250": "Windows-1250"}
# Excel reads and writes the delimiter in a line before the header.
_DELIMITER_LINE = re.compile(r"sep=(.)[ \t]*(?:\r\n?|\n)")
# A spreadsheet takes a cell with such a prefix for a formula, even if it is quoted.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def write(rows: Iterable[Sequence[str | int | float]]) -> str:
    """Returns rows as CSV that a spreadsheet opens without running a formula.

    A text that begins like a formula gets the prefix `'`, which `plain` removes. Texts are quoted, so that
    another delimiter does not split them. Numbers stay numbers, including negative ones.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    lines.writerows([_neutral(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def _neutral(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def plain(text: str) -> str:
    """Returns the text that `write` has written, without the prefix."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def decode(data: bytes, what: str) -> str:
    """Decodes UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Args:
        data: the content of a file.
        what: the name of the file in messages.

    Raises:
        InputError: the data has another encoding; the message shows the line in likely ones.
    """
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8"):
            raise InputError(f"{what} is not UTF-8: {_readings(data, error.start)}") from error
        raise InputError(
            f"{what} has the byte order mark of {encoding.upper()} but is not valid {encoding.upper()} at "
            f"byte {error.start}: save it as CSV UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{what} has a NUL character in line {line}, so it may be UTF-16 without a byte order mark: "
            "save it as CSV UTF-8"
        )
    return text


def _readings(data: bytes, position: int) -> str:
    """Shows the line at `position` decoded with older encodings."""
    start = data.rfind(b"\n", 0, position) + 1
    line = data[start : position + 20].splitlines()[0]
    readings: dict[str, str] = {}
    for code_page, name in _CODE_PAGES.items():
        readings.setdefault(quoted(line.decode(code_page, "replace")), name)
    shown = " or ".join(f"{text} ({name})" for text, name in list(readings.items())[:2])
    number = data.count(b"\n", 0, position) + 1
    return f"line {number} could be {shown}; save it as CSV UTF-8"


def headers(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yields the header, split by each possible delimiter.

    Yields:
        A delimiter, the line number of the header, and the column names; nothing for an empty file.
    """
    named = _DELIMITER_LINE.match(text)
    for delimiter in named.group(1) if named else _DELIMITERS:
        for line, values, _ in records(text, delimiter, after=1 if named else 0):
            if any(value.strip() for value in values):
                yield delimiter, line, [value.strip() for value in values]
                break


def records(text: str, delimiter: str, *, after: int) -> Iterator[tuple[int, Sequence[str], str]]:
    """Yields the records after line `after`, as defined in RFC 4180.

    Yields:
        The first line number of a record, its fields, and the problem, or an empty string.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = lines.line_num + 1
        try:
            values, problem = next(lines), ""
        except StopIteration:
            return
        except csv.Error as error:
            values, problem = [], _problem(str(error))
        if line > after:
            yield line, values, problem


def _problem(error: str) -> str:
    if "expected after" in error:
        return 'text follows a closing quote; double the quotes inside a quoted field, ""'
    if "end of data" in error or "field limit" in error:
        return "a quote opens here and is not closed; close it, and double the quotes inside it"
    return f"not valid CSV ({error}); follow RFC 4180"


def quoted(text: str) -> str:
    """Returns a value for messages: quoted, in one line, shortened."""
    return repr(text if len(text) <= 80 else f"{text[:79]}…")
