"""What verbs share: how their configuration is given, and where they log."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from framewatch.io import access, logs


def print_any_name() -> None:
    """Prints what the locale has no letters for as escapes: a name must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def in_utf8(arguments: Sequence[str]) -> list[str]:
    """Arguments as typed: Python has read them by the locale, and names of files are UTF-8."""
    return [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in arguments]


def add_output(parser: argparse.ArgumentParser) -> None:
    """The run that a verb is about."""
    parser.add_argument("output", metavar="OUTPUT", help="the run's directory, such as out/demo")


def add_config(parser: argparse.ArgumentParser, example: str) -> None:
    """`--config FILE` and overrides."""
    parser.add_argument("--config", metavar="FILE", help="a YAML file, such as conf/local.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=example)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """`--debug`, `--verbose` and `--log-level`, which all verbs have."""
    parser.add_argument("--debug", action="store_true", help="show stack traces and Spark's warnings")
    parser.add_argument(
        "--log-level",
        choices=logs.LEVELS,
        default="error",
        help="what stderr shows of the log (default: %(default)s); logging.file=FILE keeps it",
    )
    parser.add_argument(
        "--verbose",
        dest="log_level",
        action="store_const",
        const="debug",
        help="the same as --log-level debug; names all that was passed over",
    )


def config_of(args: argparse.Namespace, *more: str) -> Any:
    """The configuration of a call, `more` overrides the last; its log is set up.

    Raises:
        ConfigError: it is not valid.
    """
    from framewatch.config import load_config

    config = load_config(args.config, [*args.overrides, *more])
    access.set_access(config.files.access)
    its = config.logging
    logs.set_up(
        args.log_level,
        file=its.file,
        file_level=its.level,
        as_json=its.json,
        max_mb=its.max_mb,
        keep=its.keep,
    )
    return config
