"""Reviewers' answers: a log that is only ever appended to, and what it says of each second. Knows no Spark.

Below `OUTPUT/verdicts` lie files of JSON lines. Each open `VerdictLog` writes a file of its own, so that two
reviewers, or two servers, never write to the same one. An answer taken back is a further line.
"""

import contextlib
import json
import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from framewatch import storage
from framewatch.errors import InputError

Answer = Literal["suspicious", "not", "unsure"]
ANSWERS: tuple[str, ...] = get_args(Answer)
# What reviewers together say of a second.
State = Literal["suspicious", "not", "unsure", "disagreement"]

_MOST_NAME = 40


@dataclass(frozen=True)
class Verdict:
    """One reviewer's answer about `[start_s, end_s)` of a video.

    Attributes:
        video: its URI.
        answer: what the reviewer said.
        reviewer: who.
        reason: why the moment was shown: `top`, `uncertain`, `random`, or `chosen` by the reviewer.
        model: what had ranked it.
        prob2: its probability when it was shown.
        at: when, ISO 8601 in UTC; later answers of a reviewer replace earlier ones.
        id: names it for ever.
    """

    video: str
    start_s: float
    end_s: float
    answer: str
    reviewer: str
    reason: str = "chosen"
    model: str = ""
    prob2: float | None = None
    at: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise InputError(f"answer={self.answer} is not valid: choose one of {', '.join(ANSWERS)}")
        if not 0 <= self.start_s < self.end_s < float("inf"):
            raise InputError(
                f"[{self.start_s}, {self.end_s}) is no range of seconds: give start_s below end_s"
            )
        name = self.reviewer
        if not name.strip() or len(name) > _MOST_NAME or not name.isprintable():
            raise InputError(f"reviewer={name!r} is not valid: give a name of 1 to {_MOST_NAME} characters")


@dataclass(frozen=True)
class Segment:
    """Seconds `[start_s, end_s)` of a video, and what each reviewer last said of them."""

    start_s: float
    end_s: float
    answers: dict[str, str]

    @property
    def state(self) -> State:
        """What they say together. Who is unsure does not contradict who is sure."""
        sure = {answer for answer in self.answers.values() if answer != "unsure"}
        if len(sure) > 1:
            return "disagreement"
        return "suspicious" if "suspicious" in sure else "not" if sure else "unsure"


class VerdictLog:
    """The verdicts of one output, of all who write there."""

    def __init__(self, output: str) -> None:
        """Reads what there is.

        Args:
            output: the run's directory.
        """
        self._directory = storage.join(output, "verdicts")
        self._name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._read_bytes: dict[str, int] = {}
        self._lines: dict[str, dict[str, Any]] = {}
        self._last_at = ""
        self.refresh()

    def append(self, verdict: Verdict) -> Verdict:
        """Keeps a verdict for good before it returns; gives it its time."""
        return self._append(lambda at: {**asdict(verdict), "at": at}, verdict.reviewer)

    def undo(self, reviewer: str) -> Verdict | None:
        """Takes back the reviewer's last verdict that stands, and returns it; None where there is none."""
        self.refresh()
        standing = [verdict for verdict in self.verdicts() if verdict.reviewer == reviewer]
        if not standing:
            return None
        last = standing[-1]
        self._append(lambda at: {"undoes": last.id, "reviewer": reviewer, "at": at}, reviewer)
        return last

    def verdicts(self) -> list[Verdict]:
        """Those that stand, in order of time."""
        with self._lock:
            lines = sorted(self._lines.values(), key=lambda line: line["at"])
        undone = {line["undoes"] for line in lines if "undoes" in line}
        return [Verdict(**line) for line in lines if "answer" in line and line["id"] not in undone]

    def refresh(self) -> bool:
        """Reads what others have written since; returns whether there was anything."""
        found = False
        with self._lock:
            for name in storage.children(self._directory):
                if name.endswith(".jsonl"):
                    found |= self._read(name)
        return found

    def _read(self, name: str) -> bool:
        files, path = storage.filesystem(storage.join(self._directory, name))
        begin = self._read_bytes.get(name, 0)
        with contextlib.suppress(FileNotFoundError):
            if files.size(path) <= begin:
                return False
            with files.open(path, "rb") as file:
                file.seek(begin)
                data = file.read()
            whole = data[
                : data.rfind(b"\n") + 1
            ]  # a line without its end is still being written, or never was
            self._read_bytes[name] = begin + len(whole)
            for line in _parsed(whole):
                self._lines.setdefault(line["id"], line)
            return bool(whole)
        return False

    def _append(self, line_at: Any, reviewer: str) -> Any:
        with self._lock:
            at = _after(self._last_at)
            line = {"id": uuid.uuid4().hex, **line_at(at)}
            data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
            self._write(data)
            self._last_at = at
            self._lines[line["id"]] = line
        return Verdict(**line) if "answer" in line else None

    def _write(self, data: bytes) -> None:
        local = storage.local_path(self._directory)
        if local is None:  # object storage appends nothing: each verdict is a file, which appears whole
            storage.write_bytes(storage.join(self._directory, f"{uuid.uuid4().hex}.jsonl"), data)
            return
        path = Path(local) / f"{self._name}.jsonl"
        new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync_directory(path.parent)
        self._read_bytes[path.name] = path.stat().st_size


def _parsed(data: bytes) -> Iterator[dict[str, Any]]:
    for text in data.splitlines():
        with contextlib.suppress(ValueError, TypeError, InputError):
            line = dict(json.loads(text))
            if "answer" in line:
                line = asdict(Verdict(**line))
            if line.get("id") and line.get("at"):
                yield line


def _after(last: str) -> str:
    """Now, or just after `last`: two answers never have the same time."""
    now = datetime.now(UTC)
    if last and now <= (before := datetime.fromisoformat(last)):
        now = before + timedelta(microseconds=1)
    return now.isoformat(timespec="microseconds")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments_by_video(verdicts: Iterable[Verdict]) -> dict[str, list[Segment]]:
    """What is said of each video's seconds.

    Args:
        verdicts: in order of time.

    Returns:
        For each video the stretches that have an answer, in order and apart from each other.
    """
    of_video = defaultdict(list)
    for verdict in verdicts:
        of_video[verdict.video].append(verdict)
    return {video: _segments(its) for video, its in of_video.items()}


def _segments(verdicts: list[Verdict]) -> list[Segment]:
    bounds = sorted({second for verdict in verdicts for second in (verdict.start_s, verdict.end_s)})
    place = {second: number for number, second in enumerate(bounds)}
    painted: list[dict[str, str]] = [{} for _ in bounds]
    for verdict in verdicts:
        for number in range(place[verdict.start_s], place[verdict.end_s]):
            painted[number][verdict.reviewer] = verdict.answer
    found: list[Segment] = []
    for start_s, end_s, answers in zip(bounds, bounds[1:], painted, strict=False):
        if found and found[-1].end_s == start_s and found[-1].answers == answers:
            found[-1] = Segment(found[-1].start_s, end_s, answers)
        elif answers:
            found.append(Segment(start_s, end_s, answers))
    return found


def label_ranges(verdicts: Iterable[Verdict]) -> list[tuple[str, float, float, int]]:
    """Verdicts as labels by time: (video, start_s, end_s, label), half-open, none overlapping another.

    Seconds of which reviewers are unsure, or on which they disagree, have no label.
    """
    ranges: list[tuple[str, float, float, int]] = []
    for video, segments in sorted(segments_by_video(verdicts).items()):
        for segment in segments:
            if segment.state not in ("suspicious", "not"):
                continue
            label = int(segment.state == "suspicious")
            last = ranges[-1] if ranges else None
            if last and last[0] == video and last[2] == segment.start_s and last[3] == label:
                ranges[-1] = (video, last[1], segment.end_s, label)
            else:
                ranges.append((video, segment.start_s, segment.end_s, label))
    return ranges
