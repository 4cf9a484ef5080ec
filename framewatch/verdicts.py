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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from framewatch import storage
from framewatch.errors import InputError

Answer = Literal["suspicious", "not", "unsure"]
ANSWERS: tuple[str, ...] = get_args(Answer)
# What reviewers together say of a second.
State = Literal["suspicious", "not", "unsure", "disagreement"]

# Of a moment, which may also be unseen.
STATES = ("unseen", "suspicious", "not", "unsure", "disagreement")

_MOST_NAME = 40
# A moment has been answered where answers cover it but for rounding.
_COVERED, _ROUNDING_S = 0.99, 1e-6


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
        self._name = _file_name()
        self._is_local = storage.local_path(self._directory) is not None
        self._lock = threading.Lock()
        self._read_bytes: dict[str, int] = {}
        self._lines: dict[str, dict[str, Any]] = {}
        self._last_at = ""
        self.refresh()

    def append(self, verdict: Verdict) -> Verdict:
        """Keeps a verdict for good before it returns; gives it its time."""
        with self._lock:
            return Verdict(**self._append(asdict(verdict)))

    def undo(self, reviewer: str) -> Verdict | None:
        """Takes back the reviewer's last verdict that stands, and returns it; None where there is none."""
        self.refresh()
        with self._lock:
            standing = [verdict for verdict in self._standing() if verdict.reviewer == reviewer]
            if not standing:
                return None
            self._append({"undoes": standing[-1].id, "reviewer": reviewer})
            return standing[-1]

    def verdicts(self) -> list[Verdict]:
        """Those that stand, in order of time."""
        with self._lock:
            return self._standing()

    def _standing(self) -> list[Verdict]:
        lines = sorted(self._lines.values(), key=lambda line: line["at"])
        undone = {line["undoes"] for line in lines if "undoes" in line}
        return [Verdict(**line) for line in lines if "answer" in line and line["id"] not in undone]

    def refresh(self) -> bool:
        """Reads what others have written since; returns whether there was anything."""
        found = False
        files, path = storage.filesystem(self._directory)
        with self._lock:
            files.invalidate_cache(path)  # s3fs would list for ever what it listed first
            for name in storage.children(self._directory):
                # On object storage a file never changes.
                if name.endswith(".jsonl") and (self._is_local or name not in self._read_bytes):
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

    def _append(self, line: dict[str, Any]) -> dict[str, Any]:
        line = {"id": uuid.uuid4().hex, **line, "at": _after(self._last_at)}
        try:
            self._write((json.dumps(line, ensure_ascii=False) + "\n").encode())
        except OSError:
            self._name = _file_name()  # half a line may be there; what follows must not be appended to it
            raise
        self._last_at = line["at"]
        self._lines[line["id"]] = line
        return line

    def _write(self, data: bytes) -> None:
        local = storage.local_path(self._directory)
        if local is None:  # object storage appends nothing: each verdict is a file, which appears whole
            storage.write_bytes(storage.join(self._directory, f"{uuid.uuid4().hex}.jsonl"), data)
            return
        path = Path(local) / f"{self._name}.jsonl"
        new, first = not path.exists(), not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync_directory(path.parent)
        if first:
            _sync_directory(path.parent.parent)
        self._read_bytes[path.name] = path.stat().st_size


def _file_name() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"


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


def moment_states(starts_s: np.ndarray, ends_s: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """What is said of moments of one video.

    Args:
        starts_s: (n,) where each begins.
        ends_s: (n,) where it ends; half-open.
        segments: what is said of the video's seconds.

    Returns:
        (n,) int8, numbers into `STATES`. A moment that answers do not cover is unseen. Else the most telling
        answer to any part of it counts: disagreement before suspicious, unsure, and not.
    """
    covered, told = np.zeros(len(starts_s)), np.zeros(len(starts_s), np.int8)
    order = ("unseen", "not", "unsure", "suspicious", "disagreement")
    for segment in segments:
        overlap = np.minimum(ends_s, segment.end_s) - np.maximum(starts_s, segment.start_s)
        touched = overlap > _ROUNDING_S
        covered[touched] += overlap[touched]
        told[touched] = np.maximum(told[touched], order.index(segment.state))
    number = np.array([STATES.index(state) for state in order], np.int8)
    return np.where(covered >= _COVERED * (ends_s - starts_s), number[told], np.int8(0))


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
