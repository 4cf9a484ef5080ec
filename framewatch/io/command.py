"""Commands as they are printed: they work as they stand, in the directory that they are printed in."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable


def command(*arguments: str) -> str:
    """A line for the shell that calls the framewatch that runs now."""
    return shlex.join([*_program(), *arguments])


def python_command(code: str, *options: str) -> str:
    """A line for the shell that runs `code` by the Python that runs now."""
    return shlex.join([sys.executable, *options, "-c", code])


def with_environment(variables: Iterable[tuple[str, str]], arguments: Iterable[str]) -> str:
    """A line for the shell that runs a program with variables set."""
    return shlex.join(["env", *(f"{name}={value}" for name, value in variables), *arguments])


def _program() -> list[str]:
    """`framewatch` where the shell finds this one by it, else its path, as it was typed if it was."""
    script = os.path.join(os.path.dirname(sys.executable), "framewatch")
    found = shutil.which("framewatch")
    if found and os.path.isfile(script) and os.path.samefile(found, script):
        return ["framewatch"]
    typed = sys.argv[0]
    if os.sep in typed and os.path.basename(typed) == "framewatch" and os.path.isfile(typed):
        return [typed]
    return [script] if os.path.isfile(script) else [sys.executable, "-m", "framewatch.cli"]
