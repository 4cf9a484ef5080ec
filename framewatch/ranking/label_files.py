"""Label files: the bytes of a CSV file -> checked labels. Does not import Spark.

Four formats, each with a header: `ImageName,label` (the name of a frame, as in 2018),
`video,start_s,end_s,label` (a half-open range of seconds), `video,second,label` (a point in time) and
`video,label` (a whole video, with label 1 if anything in it is suspicious). Label 1 is suspicious, 0 is not,
and another word is suspicious and names the kind of event. All may have a column `group`: evaluation keeps
the videos of one group together.
"""

import bisect
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from framewatch.errors import InputError
from framewatch.io import csv_text
from framewatch.ranking import label_kinds
from framewatch.ranking.csv_table import BadLines, Header, find_header

_BY_FRAME = ("ImageName", "label")
_BY_TIME = ("video", "start_s", "end_s", "label")
_BY_POINT = ("video", "second", "label")
_BY_VIDEO = ("video", "label")
_SAME_COLUMNS = dict.fromkeys(("second_s", "timestamp_s", "time_s"), "second")
# Beside `video` and `label`, such a column is a time or a frame under a wrong name.
_OF_TIME = re.compile(
    r"^(start|end|begin|stop)|(?<![a-z])(from|to|secs?|seconds?|times?|timestamps?|frames?|imagename)(?![a-z])",
    re.A | re.I,
)
_WORDS = {"true": 1, "yes": 1, "suspicious": 1, "positive": 1}
_WORDS |= dict.fromkeys(("false", "no", "normal", "none", "negative"), 0)
# The common format of a time, which is unambiguous.
_PLAIN = re.compile(r"\d+(?:\.\d{1,2})?", re.A)
# 12, 12.5, .5 or 1e3; 1,234 or 1,234.5.
_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)", re.A | re.I
)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d(?:[.,]\d+)?)", re.A)
_SWAPPED = str.maketrans(".,", ",.")


# What a file labels, as messages and notes name it.
Format = Literal["frame", "time", "point", "video"]


class Label(NamedTuple):
    """One row: the name of a frame, or of a video with a range of its seconds; the group; the kind.

    A point in time is its start and has no end. A whole video has neither.
    """

    line: int
    name: str
    start_s: float | None
    end_s: float | None
    label: int
    group: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Labels:
    """Checked labels, all in one format.

    Attributes:
        rows: the labels.
        format: what they label.
        source: the file or directory, for messages.
        parts: the files of `source`, each with the position of its first row; empty for a single file.
        blank_rows: number of skipped rows without any value.
    """

    rows: Sequence[Label]
    format: Format
    source: str
    parts: Sequence[tuple[int, str]] = ()
    blank_rows: int = 0

    @property
    def kinds(self) -> list[str]:
        """The kinds of events, in the order in which rows name them."""
        return list(dict.fromkeys(row.kind for row in self.rows if row.kind))

    @property
    def names(self) -> list[str]:
        """The name of each row."""
        return [row.name for row in self.rows]

    def row_text(self, position: int) -> str:
        """Returns a row as text for messages, such as `line 2: 'Fight1.mpg' 0 to 3 s, label 1`."""
        row = self.rows[position]
        times = "," if row.start_s is None else f" at {row.start_s:g} s,"
        if row.end_s is not None:
            times = f" {row.start_s:g} to {row.end_s:g} s,"
        group = f", group {csv_text.quoted(row.group)}" if row.group else ""
        label = csv_text.quoted(row.kind) if row.kind else row.label
        return f"{self.location(position)}: {csv_text.quoted(row.name)}{times} label {label}{group}"

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
    return Labels(rows, "time", source=source)


def merged(files: Mapping[str, Labels], path: str) -> Labels:
    """Merges the labels of several files.

    Raises:
        InputError: the files have different formats, or there are too many kinds.
    """
    if len(files) == 1:
        return next(iter(files.values()))
    formats = {labels.format: name for name, labels in files.items()}
    if len(formats) > 1:
        (one, first), (other, second) = sorted(formats.items(), reverse=True)[:2]
        raise InputError(
            f"labels '{path}' mix two formats: '{first}' is by {one}, '{second}' by {other}: keep one"
        )
    rows: list[Label] = []
    starts = []
    for name, labels in files.items():
        starts.append((len(rows), name))
        rows += labels.rows
    blank_rows = sum(labels.blank_rows for labels in files.values())
    what = f"labels files '{path}'"
    return Labels(_as_first_spelt(rows, what), next(iter(formats)), what, starts, blank_rows)


def parse_labels(data: bytes, file: str) -> Labels:
    """Parses and checks the content of a label file.

    Accepts CSV as defined in RFC 4180, separated by `,`, `;` or tabs, in UTF-8, or in UTF-16 or UTF-32 with
    a byte order mark.

    Args:
        data: the content.
        file: the name of the file, for messages.

    Raises:
        InputError: the data is not text, matches none of the formats, has too many kinds, or has
            invalid rows; the message lists the first of them.
    """
    what = f"labels file '{file}'"
    text = csv_text.decode(data, what)
    header = find_header(
        text,
        what,
        (_BY_FRAME, _BY_TIME),
        optional=("group",),
        weaker=(_BY_POINT, _BY_VIDEO),
        same=_SAME_COLUMNS,
    )
    columns = _time_columns(header.columns)
    if "video" in header.columns and "start_s" not in header.columns:
        _check_no_times(header, what)
    rows: list[Label] = []
    blank_rows = 0
    bad = BadLines()
    # 1.234 is decimal, unless other numbers in the file have decimal commas.
    dotted = BadLines()
    comma_line = 0
    for line, values, error in csv_text.records(text, header.delimiter, after=header.line):
        if error:
            bad.add(line, error)
        elif not any(value.strip() for value in values):
            blank_rows += 1
        else:
            try:
                cells = header.cells(values)
                times = [_seconds(cells[name], name) for name in columns]
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
    bad.raise_any(what)
    return Labels(_as_first_spelt(rows, what), _format(header.columns), what, blank_rows=blank_rows)


def _as_first_spelt(rows: list[Label], source: str) -> list[Label]:
    """Returns rows with each kind as it is written first; raises an InputError if there are too many."""
    first = label_kinds.first_spellings((row.kind for row in rows), source)
    return [row._replace(kind=first[row.kind.casefold()]) if row.kind else row for row in rows]


def _time_columns(columns: Collection[str]) -> list[str]:
    return [name for name in ("start_s", "end_s", "second") if name in columns]


def _format(columns: Collection[str]) -> Format:
    if "video" not in columns:
        return "frame"
    formats: tuple[Format, ...] = ("video", "point", "time")
    return formats[len(_time_columns(columns))]


def _check_no_times(header: Header, what: str) -> None:
    """Checks that labels by video have no column of times, and labels by point no other one."""
    wrong = [name for name in header.others if _OF_TIME.search(name)]
    if wrong:
        beside, of = ("second", "points") if "second" in header.columns else ("video", "whole videos")
        raise InputError(
            f"{what} has the column {wrong[0]} beside {beside} (line {header.line}): name the times of a "
            f"range start_s and end_s, and a point second; or remove the column, if the labels are of {of}"
        )


def _label(line: int, cells: dict[str, str], times: Sequence[float]) -> Label:
    of_video = "video" in cells
    name = csv_text.plain(cells["video" if of_video else "ImageName"])
    if not name.strip():
        raise ValueError(f"empty name; name the {'video' if of_video else 'frame'}")
    word = cells["label"].strip().lower()
    number = _WORDS.get(word, _reading(word.replace(",", ".")))
    kind = label_kinds.kind_of(cells["label"], _WORDS) if number is None else None
    if number not in (0, 1) and kind is None:
        value = csv_text.quoted(cells["label"])
        rule = "use 1 (true, yes) for suspicious, 0 (false, no) for not, or a word for the kind of event"
        raise ValueError(f"label {value}; {rule}")
    number = 1 if number is None else int(number)
    group = csv_text.plain(cells.get("group", "")).strip() or None
    if len(times) < 2:
        return Label(line, name, times[0] if times else None, None, number, group, kind)
    start_s, end_s = times
    if not start_s < end_s:
        start, end = csv_text.quoted(cells["start_s"]), csv_text.quoted(cells["end_s"])
        raise ValueError(f"range {start} to {end}; start_s must be below end_s")
    return Label(line, name, start_s, end_s, number, group, kind)


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
