"""Groups of videos, which evaluation never splits: videos of one recording, scene or camera.

A group comes from the label file, from a file of groups, or from the clocks in the names of videos. Does not
import Spark.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from framewatch.errors import InputError
from framewatch.io import csv_text
from framewatch.ranking.csv_table import BadLines, find_header
from framewatch.tables.feature_files import camera
from framewatch.video.name_clock import start_of

_COLUMNS = ("video", "group")
# Files of one camera belong to one recording if the pause between them is not longer.
_PAUSE_S = 3600.0


class GroupRow(NamedTuple):
    """One row: where it is, the name of a video, and its group."""

    place: str
    name: str
    group: str


@dataclass(frozen=True)
class Groups:
    """A checked file of groups.

    Attributes:
        rows: the rows.
        source: the file, for messages.
    """

    rows: Sequence[GroupRow]
    source: str

    @property
    def names(self) -> list[str]:
        """The name of each row."""
        return [row.name for row in self.rows]

    def row_text(self, position: int) -> str:
        """Returns a row as text for messages, such as `line 2: 'Fight1.mpg', group 'hall'`."""
        row = self.rows[position]
        return f"{row.place}: {csv_text.quoted(row.name)}, group {csv_text.quoted(row.group)}"


def parse_groups(files: Mapping[str, bytes], path: str) -> Groups:
    """Parses and checks files of groups: CSV as label files, with the columns `video` and `group`.

    Args:
        files: the content of each file by its name.
        path: the file, or the directory of the files, for messages.

    Raises:
        InputError: a file is not text, lacks a column or has invalid rows; the message lists the first.
    """
    rows: list[GroupRow] = []
    for file, data in files.items():
        prefix = f"{file} " if len(files) > 1 else ""
        rows += (GroupRow(f"{prefix}line {line}", *row) for line, row in _rows(data, f"groups file '{file}'"))
    return Groups(rows, f"groups file '{path}'")


def _rows(data: bytes, what: str) -> list[tuple[int, tuple[str, str]]]:
    text = csv_text.decode(data, what)
    header = find_header(text, what, (_COLUMNS,))
    rows, bad = [], BadLines()
    for line, values, error in csv_text.records(text, header.delimiter, after=header.line):
        try:
            if error:
                raise ValueError(error)
            if any(value.strip() for value in values):
                rows.append((line, _row(header.cells(values))))
        except ValueError as problem:
            bad.add(line, str(problem))
    bad.raise_any(what)
    return rows


def _row(cells: Mapping[str, str]) -> tuple[str, str]:
    name, group = csv_text.plain(cells["video"]), csv_text.plain(cells["group"]).strip()
    if not name.strip():
        raise ValueError("empty name; name the video")
    if not group:
        raise ValueError("empty group; name the recording, or remove the line")
    return name, group


def group_of_each(rows: Iterable[tuple[str, str, str]], source: str) -> dict[str, str]:
    """Returns the group of each video.

    Args:
        rows: video, group, and the row as text for messages.
        source: the file, for messages.

    Raises:
        InputError: a video is in two groups.
    """
    found: dict[str, tuple[str, str]] = {}
    for video, group, text in rows:
        earlier, earlier_text = found.setdefault(video, (group, text))
        if earlier != group:
            raise InputError(
                f"{source} puts one video into two groups: {earlier_text} and {text}: a video is in one "
                "group, keep one of them"
            )
    return {video: group for video, (group, _) in found.items()}


def agreed(of_labels: Mapping[str, str], of_file: Mapping[str, str], source: str) -> dict[str, str]:
    """Returns the groups that labels give together with those of a file of groups.

    Raises:
        InputError: they disagree about a video.
    """
    for video, group in of_labels.items():
        other = of_file.get(video, group)
        if other != group:
            raise InputError(
                f"{video} is in the group {csv_text.quoted(group)} in its labels and in "
                f"{csv_text.quoted(other)} in {source}: a video is in one group, correct one of them"
            )
    return {**of_file, **of_labels}


def complete(
    videos: Collection[str], given: Mapping[str, str], durations_s: Mapping[str, float]
) -> dict[str, str]:
    """Returns the group of each video: the given one, else that of its recording.

    Files of one camera whose names have a clock are one recording if each begins at most an hour after the
    end of an earlier one. A video without a clock is a recording of its own. A recording is named after the
    first given group in it, else after its first video.

    Args:
        videos: URIs of the videos.
        given: groups by video; other videos may be among them.
        durations_s: durations of the videos whose names have a clock; 0 where unknown.
    """
    group_of = {video: given.get(video, video) for video in videos}
    for recording in _recordings(videos, durations_s):
        name = next((given[video] for video in recording if video in given), recording[0])
        group_of |= {video: given.get(video, name) for video in recording}
    return group_of


def _recordings(videos: Collection[str], durations_s: Mapping[str, float]) -> Iterator[list[str]]:
    """Yields the videos of each recording of names with a clock, in order of time."""
    starts_s = {video: start for video in videos if (start := start_of(video)) is not None}
    ordered = sorted(starts_s, key=lambda video: (camera(video), starts_s[video], video))
    for _, files in itertools.groupby(ordered, camera):
        recording: list[str] = []
        end_s = 0.0
        for video in files:
            if recording and starts_s[video] - end_s > _PAUSE_S:
                yield recording
                recording = []
            own_end_s = starts_s[video] + durations_s.get(video, 0.0)
            end_s = max(end_s, own_end_s) if recording else own_end_s
            recording.append(video)
        yield recording
