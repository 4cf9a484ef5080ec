"""CSV files as people's programs write and open them: encodings, delimiters, records, and no formulas."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from framewatch.errors import InputError

_DELIMITERS = ",;\t"
# UTF-32 begins with the two bytes of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CODE_PAGES = {"cp1252": "Windows-1252", "cp1251": "Windows-1251", "cp1250": "Windows-1250"}
# Excel reads and writes the delimiter in a line of its own.
_DELIMITER_LINE = re.compile(r"sep=(.)[ \t]*(?:\r\n?|\n)")
# A spreadsheet takes a cell that begins so for a formula, in quotes too.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def write(rows: Iterable[Sequence[str | int | float]]) -> str:
    """Rows as CSV that a spreadsheet opens without running anything in it.

    A text that begins like a formula gets a `'` before it, which `plain` takes away again. Texts are quoted:
    no other delimiter splits them. Numbers stay numbers, negative ones too.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    lines.writerows([_neutral(it) if isinstance(it, str) else it for it in row] for row in rows)
    return text.getvalue()


def _neutral(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def plain(text: str) -> str:
    """A text as it was before `write`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def decode(data: bytes, what: str) -> str:
    """The text of UTF-8, or of UTF-16 or UTF-32 with a byte order mark.

    Args:
        data: the content of a file.
        what: the file, as messages name it.

    Raises:
        InputError: another encoding; names the line and shows how it can be read.
    """
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8"):
            raise InputError(f"{what} is not UTF-8: {_readings(data, error.start)}") from error
        raise InputError(
            f"{what} has the byte order mark of {encoding.upper()} and is not {encoding.upper()}, at byte "
            f"{error.start}: save it as CSV UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{what} has a NUL character in line {line}, as UTF-16 without a byte order mark has: "
            "save it as CSV UTF-8"
        )
    return text


def _readings(data: bytes, position: int) -> str:
    """What the line at `position` can mean in older encodings."""
    start = data.rfind(b"\n", 0, position) + 1
    line = data[start : position + 20].splitlines()[0]
    readings: dict[str, str] = {}
    for code_page, name in _CODE_PAGES.items():
        readings.setdefault(quoted(line.decode(code_page, "replace")), name)
    shown = " or ".join(f"{text} ({name})" for text, name in list(readings.items())[:2])
    number = data.count(b"\n", 0, position) + 1
    return f"line {number} can be {shown}; save it as CSV UTF-8"


def headers(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """The header by each delimiter that the file can have.

    Yields:
        A delimiter, the line of the header, and its columns' names; none of an empty file.
    """
    named = _DELIMITER_LINE.match(text)
    for delimiter in named.group(1) if named else _DELIMITERS:
        for line, values, _ in records(text, delimiter, after=1 if named else 0):
            if any(value.strip() for value in values):
                yield delimiter, line, [value.strip() for value in values]
                break


def records(text: str, delimiter: str, *, after: int) -> Iterator[tuple[int, Sequence[str], str]]:
    """The records below line `after`, as RFC 4180 has them.

    Yields:
        The line that a record begins in, its fields, and what is wrong with it.
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
    return f"not valid CSV ({error}); write it as RFC 4180 has it"


def quoted(text: str) -> str:
    """A value as messages show it: in one line, shortened."""
    return repr(text if len(text) <= 80 else f"{text[:79]}…")
