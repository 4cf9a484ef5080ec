"""Label files: the bytes of a CSV file -> checked labels. Does not import Spark.

Two formats, each with a header: `ImageName,label` (the name of a frame, as in 2018) and
`video,start_s,end_s,label` (a half-open range of seconds). Label 1 is suspicious, 0 is not.
"""

import bisect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from framewatch.errors import InputError
from framewatch.io import csv_text

SHOWN = 5

_BY_FRAME = ("ImageName", "label")
_BY_TIME = ("video", "start_s", "end_s", "label")
_FORMATS = f"{','.join(_BY_FRAME)} or {','.join(_BY_TIME)}"
_WORDS = {"true": 1, "yes": 1, "false": 0, "no": 0}
# The common format of a time, which is unambiguous.
_PLAIN = re.compile(r"\d+(?:\.\d{1,2})?", re.A)
# 12, 12.5, .5 or 1e3; 1,234 or 1,234.5.
_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)", re.A | re.I
)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d(?:[.,]\d+)?)", re.A)
_SWAPPED = str.maketrans(".,", ",.")


class Label(NamedTuple):
    """One row: the name of a frame, or of a video with a range of its seconds."""

    line: int
    name: str
    start_s: float | None
    end_s: float | None
    label: int


@dataclass(frozen=True)
class Labels:
    """Checked labels, all by frame or all by time.

    Attributes:
        rows: the labels.
        by_time: whether they label ranges of time.
        source: the file or directory, for messages.
        parts: the files of `source`, each with the position of its first row; empty for a single file.
        blank_rows: number of skipped rows without any value.
    """

    rows: Sequence[Label]
    by_time: bool
    source: str
    parts: Sequence[tuple[int, str]] = ()
    blank_rows: int = 0

    def row_text(self, position: int) -> str:
        """Returns a row as text for messages, such as `line 2: 'Fight1.mpg' 0 to 3 s, label 1`."""
        row = self.rows[position]
        times = f" {row.start_s:g} to {row.end_s:g} s," if row.start_s is not None else ","
        return f"{self.location(position)}: {csv_text.quoted(row.name)}{times} label {row.label}"

    def location(self, position: int) -> str:
        """Returns the location of a row, such as `line 2`."""
        line = f"line {self.rows[position].line}"
        if not self.parts:
            return line
        part = bisect.bisect([first for first, _ in self.parts], position) - 1
        return f"{self.parts[part][1]} {line}"


def from_ranges(ranges: Iterable[tuple[str, float, float, int]], source: str) -> Labels:
    """Returns labels by time from tuples (video, start_s, end_s, label), numbered from 1 in messages."""
    rows = [
        Label(number, name, float(start_s), float(end_s), label)
        for number, (name, start_s, end_s, label) in enumerate(ranges, start=1)
    ]
    return Labels(rows, by_time=True, source=source)


def merged(files: Mapping[str, Labels], path: str) -> Labels:
    """Merges the labels of several files.

    Raises:
        InputError: some files label frames and some label ranges of time.
    """
    if len(files) == 1:
        return next(iter(files.values()))
    by_time = {labels.by_time: name for name, labels in files.items()}
    if len(by_time) > 1:
        raise InputError(
            f"labels '{path}' mix two formats: '{by_time[True]}' is by time, '{by_time[False]}' by frame: "
            "keep one"
        )
    rows: list[Label] = []
    starts = []
    for name, labels in files.items():
        starts.append((len(rows), name))
        rows += labels.rows
    blank_rows = sum(labels.blank_rows for labels in files.values())
    return Labels(rows, next(iter(by_time)), f"labels files '{path}'", starts, blank_rows)


def parse_labels(data: bytes, file: str) -> Labels:
    """Parses and checks the content of a label file.

    Accepts CSV as defined in RFC 4180, separated by `,`, `;` or tabs, in UTF-8, or in UTF-16 or UTF-32 with
    a byte order mark.

    Args:
        data: the content.
        file: the name of the file, for messages.

    Raises:
        InputError: the data is not text, has the columns of neither format, or has invalid rows; the message
            lists the first of them.
    """
    text = csv_text.decode(data, f"labels file '{file}'")
    header = _header(text, file)
    rows: list[Label] = []
    blank_rows = 0
    bad = _BadLines()
    # 1.234 is decimal, unless other numbers in the file have decimal commas.
    dotted = _BadLines()
    comma_line = 0
    for line, values, error in csv_text.records(text, header.delimiter, after=header.line):
        if error:
            bad.add(line, error)
        elif not any(value.strip() for value in values):
            blank_rows += 1
        else:
            try:
                cells = header.cells(values)
                times = [_seconds(cells[name], name) for name in ("start_s", "end_s") if name in cells]
                rows.append(_label(line, cells, [time.seconds for time in times]))
            except ValueError as problem:
                bad.add(line, str(problem))
                continue
            for time in times:
                if time.ambiguous:
                    dotted.add(line, time.ambiguous)
                comma_line = comma_line or (line if time.decimal_comma else 0)
    if comma_line:
        bad.extend(dotted, f"line {comma_line} has a decimal comma")
    bad.raise_any(file)
    return Labels(rows, header.by_time, f"labels file '{file}'", blank_rows=blank_rows)


class _BadLines:
    """Counts invalid lines, and keeps the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []

    def add(self, line: int, problem: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append((line, problem))

    def extend(self, others: "_BadLines", reason: str) -> None:
        self.count += others.count
        self.first += [(line, f"{problem} ({reason})") for line, problem in others.first]

    def raise_any(self, file: str) -> None:
        if self.count:
            shown = [f"line {line}: {problem}" for line, problem in sorted(self.first)[:SHOWN]]
            more = [f"and {self.count - len(shown)} more"] if self.count > len(shown) else []
            lines = "bad line" if self.count == 1 else "bad lines"
            raise InputError(f"labels file '{file}' has {self.count} {lines}: {'; '.join([*shown, *more])}")


@dataclass(frozen=True)
class _Header:
    delimiter: str
    line: int
    width: int
    columns: dict[str, int]

    @property
    def by_time(self) -> bool:
        return "video" in self.columns

    def cells(self, values: Sequence[str]) -> dict[str, str]:
        """Returns the values of a row by column.

        Raises:
            ValueError: the row has too many or too few fields.
        """
        extra = any(value.strip() for value in values[self.width :])
        if extra or len(values) <= max(self.columns.values()):
            raise ValueError(
                f"{len(values)} fields, but the header has {self.width}; quote fields that contain "
                f"{csv_text.quoted(self.delimiter)}"
            )
        return {name: values[index] for name, index in self.columns.items()}


def _header(text: str, file: str) -> _Header:
    """Finds the header, and the delimiter with which its columns match one of the formats."""
    best: list[str] = []
    for delimiter, line, names in csv_text.headers(text):
        lowered = [name.lower() for name in names]
        formats = [form for form in (_BY_TIME, _BY_FRAME) if all(name.lower() in lowered for name in form)]
        best = max(best, names, key=len)
        if not formats:
            continue
        twice = [name for name in formats[0] if lowered.count(name.lower()) > 1]
        if twice:
            raise InputError(f"labels file '{file}' has the column {twice[0]} twice (line {line}): keep one")
        if len(formats) > 1:
            raise InputError(
                f"labels file '{file}' has the columns of both formats (line {line}): keep {_FORMATS}"
            )
        return _Header(
            delimiter, line, len(names), {name: lowered.index(name.lower()) for name in formats[0]}
        )
    columns = ", ".join(filter(None, best)) or "none"
    raise InputError(f"labels file '{file}' has the columns {columns}: it must have {_FORMATS}")


def _label(line: int, cells: dict[str, str], times: Sequence[float]) -> Label:
    by_time = "video" in cells
    name = csv_text.plain(cells["video" if by_time else "ImageName"])
    if not name.strip():
        raise ValueError(f"empty name; name the {'video' if by_time else 'frame'}")
    word = cells["label"].strip().lower()
    number = _WORDS.get(word, _reading(word.replace(",", ".")))
    if number not in (0, 1):
        value = csv_text.quoted(cells["label"])
        raise ValueError(f"label {value}; use 1 (true, yes) for suspicious, 0 (false, no) for not")
    if not by_time:
        return Label(line, name, None, None, int(number))
    start_s, end_s = times
    if not start_s < end_s:
        start, end = csv_text.quoted(cells["start_s"]), csv_text.quoted(cells["end_s"])
        raise ValueError(f"range {start} to {end}; start_s must be below end_s")
    return Label(line, name, start_s, end_s, int(number))


class _Time(NamedTuple):
    seconds: float
    decimal_comma: bool = False
    ambiguous: str = ""


def _seconds(text: str, column: str) -> _Time:
    """Parses a time: seconds with a decimal point or comma, mm:ss, or h:mm:ss.

    Raises:
        ValueError: the text is not a time, or is ambiguous.
    """
    value = text.strip()
    if _PLAIN.fullmatch(value):
        return _Time(float(value))
    clock = _CLOCK.fullmatch(value)
    if clock:
        hours, minutes, seconds = clock.group(1), int(clock.group(2)), float(clock.group(3).replace(",", "."))
        if seconds >= 60 or (hours and minutes >= 60):
            raise ValueError(f"{column} {csv_text.quoted(value)}; minutes and seconds must be below 60")
        return _Time(3600 * int(hours or 0) + 60 * minutes + seconds)
    point, comma = _reading(value), _reading(value.translate(_SWAPPED))
    if point is None and comma is None:
        raise ValueError(f"{column} {csv_text.quoted(text)}; give seconds such as 12.5, mm:ss or h:mm:ss")
    if point is None or comma is None:
        return _Time(point if comma is None else comma, decimal_comma=point is None)  # type: ignore[arg-type]
    if point == comma:
        return _Time(point)
    low, high = sorted((point, comma))
    ambiguous = f"{column} {csv_text.quoted(value)} can be {low!r} or {high!r}; write the one that is meant"
    if "," in value:
        raise ValueError(ambiguous)
    return _Time(point, ambiguous=ambiguous)


def _reading(text: str) -> float | None:
    """Parses a number with a decimal point and optional thousands separators; None if it is not one."""
    number = float(text.replace(",", "")) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None
