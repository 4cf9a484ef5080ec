"""Kinds of events in label files: which words name one, and which kind a frame has where ranges overlap.

Does not import Spark.
"""

import heapq
import unicodedata
from collections import deque
from collections.abc import Collection, Iterable
from itertools import pairwise

from framewatch.errors import InputError

MOST_KINDS, _LONGEST = 20, 40
# What people write for a missing, an undecided or a negative answer. None of these names an event.
_NO_KINDS = frozenset(
    (
        "na", "nan", "null", "inf", "non", "nope", "not", "nein", "unsure", "unknown", "undecided", "maybe",
        "unclear", "other", "todo", "tbd", "ignore", "skip", "nothing", "background", "ok", "okay", "clear",
        "safe", "benign", "harmless", "unsuspicious", "nonsuspicious", "empty",
    )
)  # fmt: skip
# Of several words, the first of these denies the others.
_DENIALS = ("no", "not", "non", "without")

# (position, video, start_s, end_s, number of the kind from 1, or 0 without one).
Row = tuple[int, str, float, float, int]
# (video, start_s, end_s, number of the kind).
OfKind = tuple[str, float, float, int]


def kind_of(text: str, words: Collection[str]) -> str | None:
    """Returns the kind of event that a cell names, in composed letters and with single spaces.

    Args:
        text: the cell.
        words: the words that stand for suspicious or not suspicious; what resembles one is a misspelling.

    Returns:
        The kind; None if the cell names none.
    """
    kind = " ".join(unicodedata.normalize("NFC", text).split())
    letters = [unicodedata.category(character) for character in kind]
    if not 2 <= len(kind) <= _LONGEST or not letters[0].startswith("L"):
        return None
    if any(one[0] not in "LM" and one != "Nd" and kind[n] not in "_- " for n, one in enumerate(letters)):
        return None
    folded = kind.casefold()
    parts = folded.replace("_", " ").replace("-", " ").split()
    if " ".join(parts) in _NO_KINDS or parts[0] in _DENIALS:
        return None
    if any(_is_misspelt(folded, word) for word in words):
        return None
    return kind


def _is_misspelt(text: str, word: str) -> bool:
    """Returns whether a letter of a word is missing, doubled or wrong, or two neighbours are swapped.

    A wrong letter counts in longer words only: many words differ in one letter from a short one.
    """
    if len(word) < 4 or abs(len(text) - len(word)) > 1:
        return False
    begin = next((n for n, pair in enumerate(zip(text, word, strict=False)) if len(set(pair)) > 1), None)
    begin = min(len(text), len(word)) if begin is None else begin
    one, other = text[begin:], word[begin:]
    swapped = len(one) > 1 and one[1] + one[0] + one[2:] == other
    wrong = len(word) > 4 and one[1:] == other[1:]
    return one[1:] == other or one == other[1:] or swapped or wrong


def first_spellings(kinds: Iterable[str | None], source: str) -> dict[str, str]:
    """Returns how each kind is written first, by its text without regard to case.

    Raises:
        InputError: there are too many kinds.
    """
    found: dict[str, str] = {}
    for kind in kinds:
        if kind is not None:
            found.setdefault(kind.casefold(), kind)
    if len(found) > MOST_KINDS:
        shown = ", ".join(list(found.values())[:5])
        raise InputError(
            f"{source} names {len(found)} kinds of events ({shown}, …): name at most {MOST_KINDS}; a kind is "
            "a word in the column label other than those for suspicious and not suspicious"
        )
    return found


def disjoint(ranges: Iterable[Row]) -> tuple[list[OfKind], int]:
    """Splits ranges so that each second has one kind: where two kinds overlap, the earlier row counts.

    Args:
        ranges: the rows; those without a kind are ignored.

    Returns:
        Disjoint ranges of each video with their kind, and the number of rows that overlap an earlier row of
        another kind.
    """
    of_video: dict[str, list[Row]] = {}
    for row in ranges:
        if row[4]:
            of_video.setdefault(row[1], []).append(row)
    found: list[OfKind] = []
    overlapping: set[int] = set()
    for video, rows in of_video.items():
        bounds = sorted({second for row in rows for second in row[2:4]})
        begins = deque(sorted(rows, key=lambda row: row[2]))
        open_rows: list[Row] = []  # a heap by position
        for start_s, end_s in pairwise(bounds):
            while begins and begins[0][2] <= start_s:
                heapq.heappush(open_rows, begins.popleft())
            while open_rows and open_rows[0][3] <= start_s:
                heapq.heappop(open_rows)
            if not open_rows:
                continue
            kind = open_rows[0][4]
            overlapping |= {row[0] for row in open_rows if row[3] > start_s and row[4] != kind}
            found.append((video, start_s, end_s, kind))
    return found, len(overlapping)
