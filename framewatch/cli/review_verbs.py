"""Implements the verb that serves the review page: `framewatch review`."""

import argparse
import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from framewatch.cli.options import add_config, add_output, config_of
from framewatch.errors import InputError, SetupError

_TOKEN_VARIABLE = "FRAMEWATCH_REVIEW_TOKEN"


def add_review(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch review`."""
    review = verbs.add_parser(
        "review",
        help="Serves a page to look at the moments of a run and to answer for each.",
        description="Reads the tables of a run, without Spark. Serves a page that plays its incidents, takes "
        "verdicts, and ranks the rest anew after every few. Writes OUTPUT/verdicts.",
    )
    add_output(review)
    review.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    review.add_argument("--port", type=int, default=8765, help="0 for any free one (default: %(default)s)")
    review.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"the page's token, at least 16 characters (default: {_TOKEN_VARIABLE}, else one is made)",
    )
    # Accepted only to be rejected: all users of the machine can see arguments.
    review.add_argument("--token", help=argparse.SUPPRESS)
    review.add_argument("--reviewer", metavar="NAME", help="whose verdicts (default: your user name)")
    add_config(review, "such as review.refit_every=8")
    return review


def review(args: argparse.Namespace) -> None:
    """Runs `framewatch review`."""
    from framewatch.pipeline.search import place_of

    try:
        from framewatch.feedback.loop import LoopSettings
        from framewatch.io.terminal import print_line
        from framewatch.review.server import ServeSettings, serve
    except ImportError as error:
        raise SetupError(
            f"the review page needs the package {error.name}: pip install 'framewatch[review]'"
        ) from error
    config = config_of(args)
    page_config = config.review
    loop = LoopSettings(
        refit_every=page_config.refit_every,
        uncertain_share=page_config.uncertain_share,
        random_share=page_config.random_share,
        verdict_weight=config.classifier.verdict_weight,
        reg_param=config.classifier.reg_param,
    )
    settings = ServeSettings(
        host=args.host,
        port=args.port,
        token=_token(args),
        public_url=page_config.public_url,
        reviewer=args.reviewer,
        lead_s=page_config.lead_s,
        cache_mb=page_config.cache_mb,
        model=config.featurizer.model,
        weights=config.featurizer.weights,
        gap_s=config.classes.gap_s,
        index=lambda: place_of(dataclasses.replace(config, output=args.output)),
        index_gap_s=config.index.gap_s,
        max_pixels=config.images.max_pixels,
    )
    serve(args.output, settings=settings, loop=loop, on_message=functools.partial(print_line, whole=True))


def _token(args: argparse.Namespace) -> str | None:
    if args.token is not None:
        raise InputError(
            f"--token would show the token to all who list processes: set {_TOKEN_VARIABLE}, or give "
            "--token-file FILE"
        )
    if args.token_file is None:
        return os.environ.get(_TOKEN_VARIABLE)
    try:
        return Path(args.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"--token-file {args.token_file} cannot be read ({reason}): give a file that holds "
            "the token alone"
        ) from error
