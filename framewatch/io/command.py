"""Builds shell commands to print. They run unchanged in the current directory."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable


def command(*arguments: str) -> str:
    """Returns a shell command that calls the running installation of framewatch."""
    return shlex.join([*_program(), *arguments])


def python_command(code: str, *options: str) -> str:
    """Returns a shell command that runs `code` with the running Python."""
    return shlex.join([sys.executable, *options, "-c", code])


def with_environment(variables: Iterable[tuple[str, str]], arguments: Iterable[str]) -> str:
    """Returns a shell command that runs a program with environment variables."""
    return shlex.join(["env", *(f"{name}={value}" for name, value in variables), *arguments])


def _program() -> list[str]:
    """Returns `framewatch` if it is on the PATH, else the path of the script, as typed if possible."""
    script = os.path.join(os.path.dirname(sys.executable), "framewatch")
    found = shutil.which("framewatch")
    if found and os.path.isfile(script) and os.path.samefile(found, script):
        return ["framewatch"]
    typed = sys.argv[0]
    if os.sep in typed and os.path.basename(typed) == "framewatch" and os.path.isfile(typed):
        return [typed]
    return [script] if os.path.isfile(script) else [sys.executable, "-m", "framewatch.cli"]
