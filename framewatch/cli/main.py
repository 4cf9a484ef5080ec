"""Parses `framewatch VERB` and runs the verb; the job scripts run the same verbs."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import framewatch
from framewatch.cli import (
    prompt_verbs,
    review_verbs,
    search_verbs,
    spark_verbs,
    table_verbs,
)
from framewatch.cli.options import add_config, add_debug, add_output, config_of, in_utf8, print_any_name
from framewatch.io import logs
from framewatch.io.redact import redact
from framewatch.io.text import printable
from framewatch.spark.java_errors import explain, last_cause

_STAGES = {
    "ingest": "Reads videos.train and videos.test, and decodes each video once. Writes the tables `frames` "
    "(one row per sampled frame, with a thumbnail), `features` (one vector per frame) and `videos` (one row "
    "per file, with its status). Files in the ledger are not read again.",
    "extract": "Reads videos.train and videos.test. Writes the tables `frames` (one row a sampled frame, "
    "with its full JPEG) and `videos` (one row a file, with its status and, where it failed, the reason). "
    "Files that the ledger has are not read again.",
    "featurize": "Reads `frames`. Writes `features`, one vector a frame. What has features is left alone.",
    "train": "Reads `features` and labels.train. Writes model/: the Spark ML classifier, metrics.json and "
    "model_card.md, evaluated on left-out videos.",
    "rank": "Reads `features` of videos.test (of all videos where it is not set) and model/ (or "
    "classifier.path). Writes `predictions`, ranked, and registers the tables for SQL. With labels.test, "
    "tells what the ranking is worth.",
    "quantize": "Reads `frames`. Writes the int8 version of the network, calibrated on them, for "
    "featurizer.precision=int8, and quantization.json: how well it agrees with float32.",
    "run": "All stages in order: ingest, train, rank; with frames.keep=full, extract and featurize instead "
    "of ingest. What is done is not done again. Without labels.train but with classifier.path, ranks new "
    "videos by a saved classifier.",
}
# Verbs of other modules: the function that adds the parser, and the function that runs the verb.
_VERBS: dict[str, tuple[Callable[[Any], argparse.ArgumentParser], Callable[[argparse.Namespace], None]]] = {
    "classify": (prompt_verbs.add_classify, prompt_verbs.classify),
    "ask": (prompt_verbs.add_ask, prompt_verbs.ask),
    "index": (search_verbs.add_index, search_verbs.index),
    "search": (search_verbs.add_search, search_verbs.search),
    "explore": (search_verbs.add_explore, search_verbs.explore),
    "compact": (table_verbs.add_compact, table_verbs.compact),
    "review": (review_verbs.add_review, review_verbs.review),
    "sql": (spark_verbs.add_sql, spark_verbs.launch),
    "submit": (spark_verbs.add_submit, spark_verbs.launch),
}
_OVERRIDES = "key=value overrides, such as sampling.fps=2; docs/reference/configuration.md lists the keys"


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line, like all errors of framewatch."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {_shown(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="framewatch", description="Finds the suspicious moments in a mountain of video, on Spark."
    )
    parser.add_argument("--version", action="version", version=f"framewatch {framewatch.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for verb, text in _STAGES.items():
        _add_stage(verbs, verb, text)
    samples = verbs.add_parser("samples", help="Draws a small CCTV-like set of labelled clips.")
    samples.add_argument("directory", metavar="DIR", help="where to: DIR/train, DIR/test and their labels")
    samples.add_argument("--seed", type=int, help="another number draws other clips")
    add_debug(samples)
    timeline = verbs.add_parser(
        "timeline",
        help="Shows what is suspicious in one video: when first, for how long, what share of it.",
    )
    timeline.add_argument(
        "video", metavar="VIDEO", help="its URI, or the end of it, such as Walk1 or a/Walk1.mpg"
    )
    add_config(timeline, "such as output=out/demo")
    add_debug(timeline)
    for add, _ in _VERBS.values():
        add_debug(add(verbs))
    report = verbs.add_parser(
        "report",
        help="Writes OUTPUT/report/index.html anew, with the verdicts given since.",
        description="Reads the tables of a run and the verdicts. Writes OUTPUT/report/index.html, one file "
        "with all that it shows. `framewatch rank` writes it too.",
    )
    add_output(report)
    add_config(report, "such as files.access=group")
    add_debug(report)
    weights = verbs.add_parser("weights", help="Downloads model weights once, and prints where they are.")
    weights.add_argument(
        "name", metavar="NAME", help="imagenet, nsfwjs, auto, or the path of a file to check"
    )
    weights.add_argument(
        "--model", default="InceptionV3", help="the model they are for (default: %(default)s)"
    )
    add_debug(weights)
    return parser


def _add_stage(verbs: Any, verb: str, text: str) -> None:
    stage = verbs.add_parser(verb, help=text.split(". ")[0] + ".", description=text)
    add_config(stage, _OVERRIDES)
    if verb == "train":
        stage.add_argument(
            "--with-verdicts", action="store_true", help="learn from reviewers too: labels.verdicts=true"
        )
    if verb == "run":
        stage.add_argument(
            "--watch",
            action="store_true",
            help="go on with new videos in videos.test as they come, ranked by the saved classifier; "
            "watch.period_s=0 takes what is there and ends",
        )
    add_debug(stage)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments. Overrides may be anywhere; argparse accepts positional ones in one place only."""
    parser = _parser()
    args, rest = parser.parse_known_args(spark_verbs.with_separator(arguments))
    wrong = [
        argument
        for argument in rest
        if argument.startswith("-") or "=" not in argument or "overrides" not in args
    ]
    if wrong:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code: 0 on success, 2 for user errors, 1 for anything else.

    An interrupt returns 130, except for `review` and `run --watch`, which end that way with 0.

    Args:
        arguments: arguments of the command line without the program's name; None for those of the process.
    """
    print_any_name()
    args = _parsed(in_utf8(sys.argv[1:] if arguments is None else arguments))
    own = {"samples": _samples, "timeline": _timeline, "weights": _weights}
    own |= {"report": _report}
    verb = _VERBS[args.verb][1] if args.verb in _VERBS else own.get(args.verb, _stage)
    try:
        logs.set_up(args.log_level)
        with logs.stage(args.verb):
            verb(args)
    except KeyboardInterrupt:
        if args.verb == "review" or getattr(args, "watch", False):  # the regular way to end it
            return 0
        print("error: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        user_error = explain(error)
        line = str(user_error) if user_error else f"{last_cause(error)} (--debug shows where)"
        line = " ".join(_shown(line, keep="\n").split())
        logs.log_failure(args.verb, line)
        if args.debug:
            print(_shown(traceback.format_exc(), keep="\n\t"), end="", file=sys.stderr)
        else:
            print(f"error: {line}", file=sys.stderr)
        return 2 if user_error else 1
    return 0


def job(verb: str) -> None:
    """Runs a verb for a script in `jobs/`, with the script's arguments.

    Raises:
        SystemExit: the verb failed.
    """
    # Only exits on failure: Databricks treats any SystemExit as a failure, even sys.exit(0).
    if code := main([verb, *sys.argv[1:]]):
        sys.exit(code)


def _shown(text: str, *, keep: str = "") -> str:
    return printable(redact(text), keep=keep)


def _stage(args: argparse.Namespace) -> None:
    from framewatch.pipeline import stages

    config = config_of(args, *(["labels.verdicts=true"] if getattr(args, "with_verdicts", False) else []))
    stage = "watch" if getattr(args, "watch", False) else args.verb
    work = stages.run_all if stage == "run" else getattr(stages, stage)
    with stages.start(config, stage, debug=args.debug) as run:
        work(run)


def _samples(args: argparse.Namespace) -> None:
    from framewatch.io.terminal import counted_progress, print_line
    from framewatch.samples import draw_samples

    options = {} if args.seed is None else {"seed": args.seed}
    with counted_progress("samples", "clips") as show:
        clips = draw_samples(args.directory, **options, on_clip=lambda _, done, total: show(done, total))
    seconds = sum(clip.duration_s for clip in clips)
    print_line(f"samples: {len(clips)} clips, {seconds:.0f} s of video, in {args.directory}")


def _timeline(args: argparse.Namespace) -> None:
    from framewatch.io.storage import basename
    from framewatch.io.terminal import print_line, show_table
    from framewatch.tables.timeline import clock, read_timeline

    found = read_timeline(config_of(args).output, args.video)
    print_line(found.summary())
    if not found.incidents:
        return
    rows = []
    for incident in found.incidents:
        times = (
            clock(incident.start_s),
            clock(incident.end_s),
            f"{incident.end_s - incident.start_s:.1f}",
            clock(incident.peak_s),
        )
        rows.append((*times, f"{incident.peak_prob2:.3f}", str(incident.rank)))
    show_table(("from", "to", "seconds", "peak", "probability", "rank"), rows, title=basename(found.video))


def _report(args: argparse.Namespace) -> None:
    from framewatch.io.terminal import print_line
    from framewatch.report import write_report

    config_of(args)
    print_line(f"report: {write_report(args.output)}")


def _weights(args: argparse.Namespace) -> None:
    from framewatch.io.terminal import print_line
    from framewatch.models.weights import resolve_weights

    found = resolve_weights(args.name, args.model, on_message=print_line)
    print_line(f"weights: {found.name}, SHA-256 {found.sha256}, {found.path}")
