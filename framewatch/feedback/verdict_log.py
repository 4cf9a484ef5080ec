"""The append-only log of verdicts. Verdicts on a file that was replaced since are set aside.

`OUTPUT/verdicts` contains JSON Lines files. Each open `VerdictLog` writes its own file, so that two reviewers
or servers never write to the same one. Undoing a verdict appends another line.
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
    """The verdicts of one output, from all reviewers.

    A verdict records the size and time of the video's file, from the `videos` table as it was when the log
    was opened. If the table lists another file for the video, the verdict is set aside until the original
    file is restored.
    """

    def __init__(self, output: str) -> None:
        """Reads the `videos` table and the existing verdicts.

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
        """Writes a verdict durably; returns it with its time and the identity of its file."""
        if not verdict.has_file:
            size_bytes, modified_ms = self._files.get(verdict.video, _NO_FILE)
            verdict = replace(verdict, size_bytes=size_bytes, modified_ms=modified_ms)
        line = asdict(verdict)
        if not verdict.has_file:
            del line["size_bytes"], line["modified_ms"]
        with self._lock:
            return Verdict(**self._append(line))

    def undo(self, reviewer: str) -> Verdict | None:
        """Undoes and returns the reviewer's latest current verdict; None if there is none."""
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
        """Returns the current verdicts that are not set aside, in chronological order."""
        with self._lock:
            return [verdict for verdict in self._standing() if self._is_current(verdict)]

    def set_aside(self) -> list[Verdict]:
        """Returns the current verdicts on files that were replaced since, in chronological order."""
        with self._lock:
            return [verdict for verdict in self._standing() if not self._is_current(verdict)]

    @property
    def file_summary(self) -> str:
        """Problems with the files of verdicts, in one line; empty without any."""
        parts = []
        if aside := self.set_aside():
            num_videos = len({verdict.video for verdict in aside})
            parts.append(
                f"set aside: {_number(len(aside), 'verdict')} on {_number(num_videos, 'video')} whose files "
                "changed in size or time (review again, or restore the files with their times)"
            )
        if unnamed := sum(not verdict.has_file for verdict in self.verdicts()):
            parts.append(
                f"without a file: {_number(unnamed, 'verdict')} from an older version, "
                "which count for the present files"
            )
        return "; ".join(parts)

    def _is_current(self, verdict: Verdict) -> bool:
        return verdict.is_of(self._files.get(verdict.video, _NO_FILE))

    def _standing(self) -> list[Verdict]:
        lines = sorted(self._lines.values(), key=lambda line: line["at"])
        undone = {line["undoes"] for line in lines if "undoes" in line}
        return [Verdict(**line) for line in lines if "answer" in line and line["id"] not in undone]

    def refresh(self) -> bool:
        """Reads verdicts that others have written; returns whether there were any."""
        found = False
        with self._lock:
            for name in storage.children(self._directory):
                # On object storage, files never change.
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
            # A last line without a newline is still being written, or its writer stopped.
            whole = data[: data.rfind(b"\n") + 1]
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
            self._name = _file_name()  # the file may end in half a line; the next verdict must not follow it
            raise
        self._last_at = line["at"]
        self._lines[line["id"]] = line
        return line

    def _write(self, data: bytes) -> None:
        local = storage.local_path(self._directory)
        if local is None:  # object storage cannot append, so each verdict is a file, written atomically
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
    """Returns the current time, or just after `last`, so that no two verdicts have the same time."""
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
