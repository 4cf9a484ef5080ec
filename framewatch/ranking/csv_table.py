"""Headers, rows and bad lines of the CSV files that users write: labels and groups. Does not import Spark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framewatch.errors import InputError
from framewatch.io import csv_text

SHOWN = 5


class BadLines:
    """Counts invalid lines, and keeps the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []

    def add(self, line: int, problem: str) -> None:
        """Adds a line with its problem: the value and the rule."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append((line, problem))

    def extend(self, others: "BadLines", reason: str) -> None:
        """Adds all lines of others, which are invalid for one more reason."""
        self.count += others.count
        self.first += [(line, f"{problem} ({reason})") for line, problem in others.first]

    def raise_any(self, what: str) -> None:
        """Raises an InputError that lists the first lines; does nothing if there are none.

        Args:
            what: the file in messages, such as `labels file 'a.csv'`.
        """
        if self.count:
            shown = [f"line {line}: {problem}" for line, problem in sorted(self.first)[:SHOWN]]
            more = [f"and {self.count - len(shown)} more"] if self.count > len(shown) else []
            lines = "bad line" if self.count == 1 else "bad lines"
            raise InputError(f"{what} has {self.count} {lines}: {'; '.join([*shown, *more])}")


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
        delimiter: what separates fields.
        line: the line of the header.
        width: the number of fields in it.
        columns: positions of the columns of the format.
        others: the names of the other columns, which are ignored.
    """

    delimiter: str
    line: int
    width: int
    columns: dict[str, int]
    others: Sequence[str] = ()

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


def find_header(
    text: str,
    what: str,
    formats: Sequence[Sequence[str]],
    optional: Sequence[str] = (),
    *,
    weaker: Sequence[Sequence[str]] = (),
    same: Mapping[str, str] | None = None,
) -> Header:
    """Finds the header, and the delimiter with which its columns match one of the formats.

    Args:
        text: the content of the file.
        what: the file in messages, such as `labels file 'a.csv'`.
        formats: the columns of each format.
        optional: columns that any format may have.
        weaker: formats to try, in this order, if none of `formats` matches.
        same: other names of columns, in lower case.

    Raises:
        InputError: the columns match no format or several, or a column is there twice.
    """
    best: list[str] = []
    rule = " or ".join(",".join(form) for form in (*formats, *weaker))
    split = [(is_weaker, *header) for is_weaker in (False, True) for header in csv_text.headers(text)]
    for is_weaker, delimiter, line, names in split:
        lowered = [(same or {}).get(name.lower(), name.lower()) for name in names]
        candidates = weaker if is_weaker else formats
        found = [form for form in candidates if all(name.lower() in lowered for name in form)]
        found = found[:1] if is_weaker else found
        best = max(best, names, key=len)
        if not found:
            continue
        wanted = [*found[0], *(name for name in optional if name in lowered)]
        twice = [name for name in wanted if lowered.count(name.lower()) > 1]
        if twice:
            raise InputError(f"{what} has the column {twice[0]} twice (line {line}): keep one")
        if len(found) > 1:
            raise InputError(f"{what} has the columns of both formats (line {line}): keep {rule}")
        columns = {name: lowered.index(name.lower()) for name in wanted}
        others = [name for place, name in enumerate(names) if name and place not in columns.values()]
        return Header(delimiter, line, len(names), columns, others)
    shown = ", ".join(filter(None, best)) or "none"
    raise InputError(f"{what} has the columns {shown}: it must have {rule}")
