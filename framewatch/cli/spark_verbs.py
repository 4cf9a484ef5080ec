"""Implements `framewatch sql` and `framewatch submit`, which pass arguments to Spark's own programs."""

import argparse
from collections.abc import Sequence
from typing import Any

from framewatch.cli.options import add_output

# Number of positional arguments of framewatch before those that are passed on.
_OWN = {"sql": 1, "submit": 0}
_FLAGS = {"--dry-run", "--debug", "-h", "--help"}


def add_sql(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch sql`."""
    parser = verbs.add_parser(
        "sql",
        help="Opens the tables of a run in spark-sql.",
        description="Starts Spark's spark-sql on the tables and views of a run. Arguments after OUTPUT are "
        "passed to spark-sql, such as -e QUERY or -f FILE; without them it is interactive.",
    )
    add_output(parser)
    parser.add_argument("arguments", nargs="*", metavar="...", help="arguments of spark-sql")
    return _with_dry_run(parser)


def add_submit(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch submit`."""
    parser = verbs.add_parser(
        "submit",
        help="Submits a job by spark-submit.",
        description="Starts Spark's spark-submit with the Spark, Java and Python of this environment. All "
        "arguments are passed on: options of spark-submit, a job file and its arguments.",
    )
    parser.add_argument(
        "arguments", nargs="+", metavar="...", help="such as jobs/rank_frames.py output=out/demo"
    )
    return _with_dry_run(parser)


def _with_dry_run(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--dry-run", action="store_true", help="print the command, with the environment that is set for it"
    )
    return parser


def with_separator(arguments: Sequence[str]) -> list[str]:
    """Inserts `--` before the arguments to pass on, so that argparse does not parse their options.

    Args:
        arguments: arguments of the command line; returned unchanged if the verb passes none on.
    """
    verb, *rest = arguments or [""]
    if verb not in _OWN:
        return list(arguments)
    flags: list[str] = []
    own: list[str] = []
    while rest:
        if rest[0] in _FLAGS or rest[0].startswith("--log-level="):
            flags.append(rest.pop(0))
        elif rest[0] == "--log-level":
            flags += [rest.pop(0), *rest[:1]]
            del rest[:1]
        elif len(own) < _OWN[verb] and not rest[0].startswith("-"):
            own.append(rest.pop(0))
        else:
            break
    return [verb, *flags, *own, *(["--", *rest] if rest and len(own) == _OWN[verb] else rest)]


def launch(args: argparse.Namespace) -> None:
    """Replaces this process by Spark's program; with `--dry-run`, prints the command instead."""
    from framewatch.io.terminal import print_line
    from framewatch.spark import launch

    wanted = launch.sql(args.output, args.arguments) if args.verb == "sql" else launch.submit(args.arguments)
    if not args.dry_run:
        wanted.execute()
    print_line(str(wanted))
