"""Adds the options that verbs share: output, configuration and logging."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from framewatch.io import access, logs


def print_any_name() -> None:
    """Prints characters that the locale lacks as escapes, so that a file name cannot end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def in_utf8(arguments: Sequence[str]) -> list[str]:
    """Decodes arguments as UTF-8, as file names are; Python decoded them with the locale's encoding."""
    return [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in arguments]


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds the argument OUTPUT, the output directory."""
    parser.add_argument("output", metavar="OUTPUT", help="the run's directory, such as out/demo")


def add_config(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds `--config FILE` and overrides.

    Args:
        parser: the parser of a verb.
        example: help text with an example of an override.
    """
    parser.add_argument("--config", metavar="FILE", help="a YAML file, such as conf/local.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=example)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Adds `--debug`, `--verbose` and `--log-level`, which all verbs have."""
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
    """Returns the configuration of a call, and sets up the log and the access to files.

    Args:
        args: the parsed arguments.
        more: further overrides, which win over those of the command line.

    Raises:
        ConfigError: the configuration is not valid.
    """
    from framewatch.config import load_config

    config = load_config(args.config, [*args.overrides, *more])
    access.set_access(config.files.access)
    settings = config.logging
    logs.set_up(
        args.log_level,
        file=settings.file,
        file_level=settings.level,
        as_json=settings.json,
        max_mb=settings.max_mb,
        keep=settings.keep,
    )
    return config
