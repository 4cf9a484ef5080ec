"""Children that answer requests: real processes, which end in every way."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from framewatch.io.child import Child, ChildError, ask

MODULE = """
import os, signal, sys, time
from framewatch.io.child import answer_requests

def handle(request):
    print("a library prints to stdout", flush=True)
    print("a message", file=sys.stderr, flush=True)
    for number in range(request.get("count", 0)):
        yield {{"number": number}}, bytes([number]) * 100_000
    {body}
    yield {{"outcome": {{"pid": os.getpid(), "home": os.environ.get("HOME_OF_CHILD")}}}}, b""

answer_requests(handle)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module whose handler runs `body` before its outcome; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(body: str = "") -> str:
        (tmp_path / "answering.py").write_text(MODULE.format(body=body))
        return "answering"

    return written


def is_running(pid: int) -> bool:
    """Whether a process runs: it has not ended, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_child_answers_all_requests(module, capfd) -> None:
    child = Child(module(), env={"HOME_OF_CHILD": "here"})
    outcomes = []
    for count in (3, 0):
        *answers, (last, _) = child.run({"count": count})
        assert [(header["number"], data) for header, data in answers] == [
            (number, bytes([number]) * 100_000) for number in range(count)
        ]
        outcomes.append(last["outcome"])
    assert outcomes == [{"pid": child.pid, "home": "here"}] * 2
    assert child.stderr_lines() == ["a library prints to stdout", "a message"]
    child.end()
    assert child.pid is None and not is_running(outcomes[0]["pid"])
    assert capfd.readouterr() == ("", "")


def test_a_child_that_is_asked_once_ends(module) -> None:
    assert not is_running(ask(module(), {}, timeout_s=math.inf)["pid"])


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"^crashed \(signal SIGSEGV\)$"),
        ("os._exit(3)", r"^crashed \(exit code 3: a message\)$"),
        ("raise ValueError('the reason')", r"^crashed \(exit code 1: ValueError: the reason\)$"),
        ("time.sleep(60)", r"^did not end within 3 s$"),
    ],
)
def test_the_cause_of_death(module, body: str, cause: str) -> None:
    with pytest.raises(ChildError, match=cause):
        ask(module(body), {"count": 1}, timeout_s=3)


def test_a_child_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ChildError, match=r"^could not start \(No such file or directory\)$"):
        ask("answering", {})


WHOLE = b'{"index": 0, "size": 4}\njpeg'


@pytest.mark.parametrize("cut", [0, 5, len(WHOLE) - 5, len(WHOLE) - 4, len(WHOLE) - 1])
def test_half_an_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """What a child that dies while it writes leaves behind must not become a frame."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dying.py").write_text(f"import os\nos.write(1, {WHOLE + WHOLE[:cut]!r})\n")
    answers = []
    with pytest.raises(ChildError, match=r"crashed \(exit code 0\)"):
        for answer in Child("dying").run({}):
            answers.append(answer)
    assert answers == [({"index": 0, "size": 4}, b"jpeg")]


def test_a_child_whose_answers_nobody_reads_is_killed(module) -> None:
    child = Child(module())
    answers = child.run({"count": 3})
    next(answers)
    pid = child.pid
    answers.close()
    assert child.pid is None and not is_running(pid)
    assert next(child.run({"count": 1}))[0]["number"] == 0
    child.end()


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")
def test_a_child_ends_with_its_parent(module) -> None:
    code = (
        "from framewatch.io.child import Child\n"
        f"child = Child({module('time.sleep(60)')!r})\n"
        "answers = child.run({'count': 1})\n"
        "next(answers)\n"
        "print(child.pid, flush=True)\n"
        "next(answers)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)
