"""The log of verdicts: lines are only ever appended. Verdicts of a file that has been replaced are set aside.

Below `OUTPUT/verdicts` lie files of JSON lines. Each open `VerdictLog` writes a file of its own, so that two
reviewers, or two servers, never write to the same one. An answer taken back is a further line.
"""

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from framewatch.errors import InputError
from framewatch.feedback.verdict import Verdict
from framewatch.io import access, storage
from framewatch.tables.results import FileId, video_files

_NO_FILE: FileId = (None, None)


class VerdictLog:
    """The verdicts of one output, of all who write there.

    They are of the files that the ledger had when the log was opened. A verdict keeps the size and time of
    its file. Where the ledger has another file for the video, the verdict is set aside, until that is back.
    """

    def __init__(self, output: str) -> None:
        """Reads the ledger, and the verdicts that there are.

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
        self._files = video_files(output)
        self.refresh()

    def append(self, verdict: Verdict) -> Verdict:
        """Keeps a verdict for good before it returns; gives it its time and the identity of its file."""
        if not verdict.has_file:
            size_bytes, modified_ms = self._files.get(verdict.video, _NO_FILE)
            verdict = replace(verdict, size_bytes=size_bytes, modified_ms=modified_ms)
        line = asdict(verdict)
        if not verdict.has_file:
            del line["size_bytes"], line["modified_ms"]
        with self._lock:
            return Verdict(**self._append(line))

    def undo(self, reviewer: str) -> Verdict | None:
        """Takes back the reviewer's last verdict that stands, and returns it; None where there is none."""
        self.refresh()
        with self._lock:
            standing = [
                verdict
                for verdict in self._standing()
                if verdict.reviewer == reviewer and self._is_current(verdict)
            ]
            if not standing:
                return None
            self._append({"undoes": standing[-1].id, "reviewer": reviewer})
            return standing[-1]

    def verdicts(self) -> list[Verdict]:
        """Those that stand and are not set aside, in order of time."""
        with self._lock:
            return [verdict for verdict in self._standing() if self._is_current(verdict)]

    def set_aside(self) -> list[Verdict]:
        """Those that stand, but are of another file than the ledger has, in order of time."""
        with self._lock:
            return [verdict for verdict in self._standing() if not self._is_current(verdict)]

    @property
    def note(self) -> str:
        """What a user should know of the verdicts' files, in one line; empty where there is nothing."""
        parts = []
        if aside := self.set_aside():
            num_videos = len({verdict.video for verdict in aside})
            parts.append(
                f"set aside: {_number(len(aside), 'verdict')} on {_number(num_videos, 'video')}, whose files "
                "have another size or time since (answer again, or restore the files with their times)"
            )
        if unnamed := sum(not verdict.has_file for verdict in self.verdicts()):
            parts.append(
                f"without a file: {_number(unnamed, 'verdict')} of an older version, "
                "which count for the files that are here"
            )
        return "; ".join(parts)

    def _is_current(self, verdict: Verdict) -> bool:
        return verdict.is_of(self._files.get(verdict.video, _NO_FILE))

    def _standing(self) -> list[Verdict]:
        lines = sorted(self._lines.values(), key=lambda line: line["at"])
        undone = {line["undoes"] for line in lines if "undoes" in line}
        return [Verdict(**line) for line in lines if "answer" in line and line["id"] not in undone]

    def refresh(self) -> bool:
        """Reads what others have written since; returns whether there was anything."""
        found = False
        with self._lock:
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
        access.make_directory(path.parent)
        with open(path, "ab", opener=access.opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync_directory(path.parent)
        if first:
            _sync_directory(path.parent.parent)
        self._read_bytes[path.name] = path.stat().st_size


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


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
