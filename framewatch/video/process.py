"""Decodes in a child process, so that a decoder crash or hang affects one video and not the Spark worker.

The child is `python -m framewatch.video.process`. A request is a line of JSON on its stdin. The answers are
lines of JSON on its stdout, each followed by `size` bytes; the last one has `outcome`. FFmpeg's error
messages go to its stderr, a file, and the last line shows why a video failed.
"""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from framewatch.errors import VideoError

# FFmpeg's messages contain memory addresses, which differ between runs.
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")

Answer = tuple[dict[str, Any], bytes]


class DecoderProcess:
    """A child process that decodes one video after another, and is restarted after a crash."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # as long as the child

    def run(self, request: dict[str, Any], *, timeout_s: float) -> Iterator[Answer]:
        """Sends one request and yields the answers as they come.

        Raises:
            VideoError: the child crashed, or was killed after `timeout_s`.
        """
        child = self._started()
        assert child.stdin is not None and child.stdout is not None
        timer = threading.Timer(timeout_s, child.kill)
        timer.daemon = True
        timer.start()
        complete = False
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            for handle_request in _answers(child.stdout):
                complete = "outcome" in handle_request[0]
                yield handle_request
                if complete:
                    return
            raise VideoError(self._cause_of_death(child, timeout_s, timed_out=not timer.is_alive()))
        except BrokenPipeError:
            raise VideoError(self._cause_of_death(child, timeout_s, timed_out=False)) from None
        finally:
            timer.cancel()
            if not complete:  # the child is dead, or the caller stopped reading its answers
                self.end()

    def last_error(self) -> str | None:
        """Returns FFmpeg's last error message about the last video; None without any."""
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 4000))
        lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines()]
        messages = [line for line in lines if line and not line.startswith("Last message repeated")]
        return _ADDRESS.sub("", messages[-1]) if messages else None

    def _started(self) -> subprocess.Popen[bytes]:
        self._stderr.seek(0)
        self._stderr.truncate()
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "framewatch.video.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        return self._child

    @property
    def pid(self) -> int | None:
        """Process id of the child; None if it is not running."""
        return self._child.pid if self._child else None

    def end(self) -> None:
        """Kills the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
        self._child = None

    def _cause_of_death(self, child: "subprocess.Popen[bytes]", timeout_s: float, *, timed_out: bool) -> str:
        if timed_out:
            return f"decoding did not end within {timeout_s:g} s: set extract.timeout_s higher"
        code = child.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"the decoder crashed ({how})"


def _answers(stream: Any) -> Iterator[Answer]:
    """Yields complete answers, and ignores one that a dying child left incomplete."""
    while (line := stream.readline()).endswith(b"\n"):
        header = json.loads(line)
        data = stream.read(header["size"])
        if len(data) < header["size"]:
            return
        yield header, data


def _main() -> None:
    """Answers requests until stdin ends."""
    from framewatch.video.container import log_errors_to_stderr
    from framewatch.video.extraction import handle_request

    log_errors_to_stderr()

    # Redirects other output of libraries to stderr, so that only answers reach the pipe.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in iter(_requests().get, b""):
        for header, data in handle_request(json.loads(line)):
            out.write(json.dumps({**header, "size": len(data)}).encode() + b"\n" + data)
            out.flush()


def _requests() -> "queue.SimpleQueue[bytes]":
    """Returns the queue of requests from stdin. When stdin closes with the worker, the process exits."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


if __name__ == "__main__":
    _main()
