"""Implements `framewatch compact`."""

import argparse
from typing import Any

from framewatch.cli.options import add_config, add_output, config_of


def add_compact(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch compact`."""
    parser = verbs.add_parser(
        "compact",
        help="Joins small batches of the tables into larger files.",
        description="Joins batches of fewer than 12,500 frames in `frames`, `features`, `scores` and "
        "`videos`, with files of about 128 MB. The rows stay the same. `ingest` and `extract` do this "
        "before they read videos, if there are 32 such batches.",
    )
    add_output(parser)
    add_config(parser, "such as tables.format=delta")
    return parser


def compact(args: argparse.Namespace) -> None:
    """Runs `framewatch compact`."""
    from framewatch.pipeline import stages

    config = config_of(args, f"output={args.output}")
    with stages.start(config, "compact", debug=args.debug) as run:
        stages.compact(run)
