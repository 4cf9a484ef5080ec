"""Runs a module in a child process, and asks for answers. Does not import Spark.

A crash or a hang of a decoder, or the memory of TensorFlow, then stays in the child. The child is
`python -m MODULE`, and the module calls `answer_requests`. A request is a line of JSON on its stdin. The
answers are lines of JSON on its stdout, each followed by `size` bytes; the last one has `outcome`. All other
output of the child goes to its stderr, a file. A child ends with its parent, even if it hangs and has a
timeout.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

# A child that hangs ends this long after its timeout, in case its parent has died.
_GRACE_S = 5
_STDERR_BYTES = 4000
# Longer timeouts, and infinite ones, overflow timers.
_LONGEST_S = 1e8

Answer = tuple[dict[str, Any], bytes]


class ChildError(Exception):
    """A child gave no complete answer; the text is a predicate, such as `crashed (signal SIGSEGV)`."""


class ChildTimeoutError(ChildError):
    """A child was killed after its timeout."""


class Child:
    """A child process that answers one request after another, and is started again after its end."""

    def __init__(self, module: str, *, env: Mapping[str, str] | None = None, umask: int = -1) -> None:
        """Describes the child; the first request starts it.

        Args:
            module: name of the module that calls `answer_requests`.
            env: environment variables to add to those of this process.
            umask: umask of the child; -1 for that of this process.
        """
        self._module, self._env, self._umask = module, dict(env or {}), umask
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: BinaryIO | None = None

    def run(self, request: Mapping[str, Any], *, timeout_s: float | None = None) -> Iterator[Answer]:
        """Sends one request and yields the answers as they come; kills the child unless all are taken.

        Raises:
            ChildError: the child could not start, or crashed.
            ChildTimeoutError: the child was killed after `timeout_s`.
        """
        child = self._started()
        assert child.stdin is not None and child.stdout is not None
        expired, complete = threading.Event(), False

        def expire() -> None:
            expired.set()
            child.kill()

        limit_s = None if timeout_s is None else min(timeout_s, _LONGEST_S)
        timer = threading.Timer(limit_s or 0, expire)
        timer.daemon = True
        if limit_s is not None:
            timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # the child is dead, and its stdout ends
                child.stdin.write(json.dumps({"request": request, "timeout_s": limit_s}).encode() + b"\n")
                child.stdin.flush()
            for answer in _answers(child.stdout):
                complete = "outcome" in answer[0]
                yield answer
                if complete:
                    return
            if expired.is_set():
                raise ChildTimeoutError(f"did not end within {timeout_s:g} s")
            raise ChildError(f"crashed ({self._cause_of_death(child)})")
        finally:
            timer.cancel()
            if not complete:  # the child is dead, or the caller stopped reading its answers
                self.end()

    def stderr_lines(self) -> list[str]:
        """Returns the last lines that the child wrote to its stderr during the last request."""
        if self._stderr is None:
            return []
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - _STDERR_BYTES))
        lines = self._stderr.read().decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]

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

    def _started(self) -> subprocess.Popen[bytes]:
        try:
            if self._stderr is None:
                self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # as long as the child
            self._stderr.seek(0)
            self._stderr.truncate()
            if self._child is None or self._child.poll() is not None:
                self.end()
                self._child = subprocess.Popen(
                    [sys.executable, "-m", self._module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._stderr,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **self._env},
                    umask=self._umask,
                )
        except OSError as error:
            raise ChildError(f"could not start ({error.strerror or error})") from error
        return self._child

    def _cause_of_death(self, child: subprocess.Popen[bytes]) -> str:
        code = child.wait()
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        return ": ".join([f"exit code {code}", *self.stderr_lines()[-1:]])


def ask(
    module: str,
    request: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
    umask: int = -1,
) -> dict[str, Any]:
    """Starts a child for one request, and returns its outcome.

    Args:
        module: as for `Child`.
        request: what the module's handler gets.
        timeout_s: seconds after which the child is killed; None for no limit.
        env: as for `Child`.
        umask: as for `Child`.

    Raises:
        ChildError: the child could not start, or crashed.
        ChildTimeoutError: the child was killed after `timeout_s`.
    """
    child = Child(module, env=env, umask=umask)
    try:
        *_, (header, _) = child.run(request, timeout_s=timeout_s)
        return header["outcome"]
    finally:
        child.end()


def answer_requests(handle: Callable[[dict[str, Any]], Iterator[Answer]]) -> None:
    """Answers requests until stdin ends. The child's module calls this.

    Args:
        handle: yields the answers to a request; only the last one has the key `outcome`.
    """
    # Redirects other output of libraries to stderr, so that only answers reach the pipe.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = _requests()
    try:
        while True:
            message = json.loads(requests.get())
            if message["timeout_s"] is not None:
                signal.setitimer(signal.ITIMER_REAL, message["timeout_s"] + _GRACE_S)
            for header, data in handle(message["request"]):
                out.write(json.dumps({**header, "size": len(data)}).encode() + b"\n" + data)
                out.flush()
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # an ordinary exit aborts, because the thread that reads stdin holds its lock


def _answers(stream: Any) -> Iterator[Answer]:
    """Yields complete answers, and ignores one that a dying child left incomplete."""
    while (line := stream.readline()).endswith(b"\n"):
        header = json.loads(line)
        data = stream.read(header["size"])
        if len(data) < header["size"]:
            return
        yield header, data


def _requests() -> "queue.SimpleQueue[bytes]":
    """Returns the queue of requests from stdin. When the parent closes stdin or dies, this process exits."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines
