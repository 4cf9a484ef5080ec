"""Implements the verbs that find classes by prompts: `framewatch classify` and `framewatch ask`."""

import argparse
import json
from pathlib import Path
from typing import Any

from framewatch.cli.options import add_config, add_output, config_of
from framewatch.errors import InputError
from framewatch.io.redact import redact


def add_classify(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch classify`."""
    parser = verbs.add_parser(
        "classify",
        help="Finds which classes, described by prompts, each video has.",
        description="Reads `features` and a request in JSON: classes, each with prompts that describe it "
        "(texts, where the features are of a CLIP; frames or pictures that show it). Writes the tables "
        "`classifications` and `class_clips`, and prints a page of the answer as JSON. No video is read "
        "again.",
    )
    add_output(parser)
    parser.add_argument(
        "--classes", metavar="FILE", required=True, help="the request; docs/how-to/prompts.md shows one"
    )
    parser.add_argument(
        "--threshold", type=float, help="a frame matches at this score, 0 to 100, or above (default: 75)"
    )
    parser.add_argument("--include-clips", action="store_true", help="list each class's clips")
    parser.add_argument(
        "--min-duration-ratio",
        type=float,
        metavar="R",
        help="a class is given to a video where its clips cover this share of it (default: 0.5)",
    )
    parser.add_argument(
        "--page-limit", type=int, metavar="N", default=10, help="videos on a page (default: 10)"
    )
    parser.add_argument("--page-token", metavar="TOKEN", help="of the next page, as the one before gave it")
    add_config(parser, "such as classes.gap_s=3")
    return parser


def add_ask(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch ask`."""
    parser = verbs.add_parser(
        "ask",
        help="Finds the videos that show something: when first, for how long, where.",
        description="Reads `features`. Prints for each video that shows it when first, for how long in all, "
        "and the clips. Writes no table.",
    )
    add_output(parser)
    parser.add_argument("text", metavar="TEXT", nargs="?", help="what to look for; needs features of a CLIP")
    parser.add_argument(
        "--example",
        action="append",
        default=[],
        metavar="FRAME",
        help="a frame that shows it; may be repeated",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="a picture that shows it; may be repeated",
    )
    parser.add_argument("--not", action="append", dest="negatives", metavar="TEXT", help="what it is not")
    parser.add_argument(
        "--video", metavar="V", help="only this one: its URI, or the end of it, such as Walk1"
    )
    parser.add_argument("--threshold", type=float, help="as of classify (default: 75)")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    add_config(parser, "such as classes.gap_s=3")
    return parser


def classify(args: argparse.Namespace) -> None:
    """Runs `framewatch classify`."""
    from framewatch.pipeline import stages
    from framewatch.prompts import classifications
    from framewatch.prompts.response import make_response

    source = _read_json(args.classes)
    if isinstance(source, dict):
        source |= {"threshold": args.threshold} if args.threshold is not None else {}
        source |= {"include_clips": True} if args.include_clips else {}
    request = _parsed(source, args.classes)
    overrides = [f"output={args.output}"]
    if args.min_duration_ratio is not None:
        overrides.append(f"classes.min_duration_ratio={args.min_duration_ratio}")
    config = config_of(args, *overrides)
    if args.page_limit < 1:
        raise InputError(f"--page-limit {args.page_limit} is not valid: give 1 or more")
    if args.page_token is None or not _is_answered(config.output, source, config.classes):
        with stages.start(config, "classify", debug=args.debug, request=request) as run:
            stages.classify(run, request, source=source)
    page = make_response(
        classifications.read_found(config.output),
        include_clips=request.include_clips,
        limit=args.page_limit,
        token=args.page_token,
    )
    print(json.dumps(page, indent=2, ensure_ascii=False))


def _is_answered(output: str, source: Any, settings: Any) -> bool:
    """Returns whether the tables contain the results of this request, for further pages."""
    from framewatch.prompts import classifications

    try:
        about = classifications.read_summary(output)
    except InputError:
        return False
    asked = {
        "request": redact(source),
        "min_duration_ratio": settings.min_duration_ratio,
        "gap_s": settings.gap_s,
    }
    return all(about.get(key) == value for key, value in asked.items())


def _read_json(file: str) -> Any:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"--classes {file} does not exist: give a JSON file, as docs/how-to/prompts.md shows"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"--classes {file} is not valid JSON ({error}): mend it there") from error


def _parsed(source: Any, file: str) -> Any:
    from framewatch.prompts.request import parse_request

    try:
        return parse_request(source)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def ask(args: argparse.Namespace) -> None:
    """Runs `framewatch ask`."""
    from framewatch.pipeline import stages
    from framewatch.prompts.request import Prompt, PromptClass, Request
    from framewatch.prompts.response import make_response
    from framewatch.tables.results import open_table
    from framewatch.tables.timeline import find_video

    prompts = [Prompt("text", args.text)] if args.text is not None else []
    prompts += [Prompt("example", value) for value in args.example] + [
        Prompt("image", value) for value in args.image
    ]
    if not prompts:
        raise InputError("nothing is asked for: give a text, --example FRAME or --image FILE")
    name = args.text or str(prompts[0])
    wanted = PromptClass(name, tuple(prompts))
    if args.negatives:
        wanted = PromptClass(name, tuple(prompts), tuple(Prompt("text", text) for text in args.negatives))
    request = Request((wanted,), 75.0 if args.threshold is None else args.threshold, include_clips=True)
    config = config_of(args, f"output={args.output}")
    video = None
    if args.video is not None:
        video = find_video(open_table(config.output, "videos").to_table().to_pylist(), args.video)[0]
    with stages.start(config, "ask", debug=args.debug, request=request) as run:
        found = stages.ask(run, request, video=video)
        num_videos = 1 if video else run.tables.ledger().count()
    if args.json:
        page = make_response(found, include_clips=True, limit=max(1, len(found)))
        print(json.dumps(page, indent=2, ensure_ascii=False))
    else:
        _print_answer(found, num_videos, video)


_MOST_VIDEOS, _MOST_CLIPS = 20, 10


def _print_answer(found: list[Any], num_videos: int, video: str | None) -> None:
    from framewatch.io.storage import basename
    from framewatch.io.terminal import print_line
    from framewatch.prompts.class_clips import covered_s
    from framewatch.tables.timeline import clock

    if not found:
        print_line("no" if video is None else f"{basename(video)}: no")
        return
    if video is None:
        print_line(f"yes, in {len(found)} of {num_videos} videos")
    for result in found[:_MOST_VIDEOS]:
        clips = [prompt_clip.clip for prompt_clip in result.classes[0].clips]
        first, total_s = min(clip.start_s for clip in clips), covered_s(clips)
        print_line(f"{basename(result.video)}: yes, first at {clock(first)}, {total_s:.1f} s in all")
        for prompt_clip in result.classes[0].clips[:_MOST_CLIPS]:
            clip = prompt_clip.clip
            print_line(
                f"  {clock(clip.start_s)} to {clock(clip.end_s)}  {clip.score:3.0f}  {prompt_clip.prompt}"
            )
        _tell_more(len(clips) - _MOST_CLIPS, "  and {} clips more: --json lists them")
    _tell_more(len(found) - _MOST_VIDEOS, "and {} videos more: --json lists them, --video asks for one")


def _tell_more(number: int, text: str) -> None:
    from framewatch.io.terminal import print_line

    if number > 0:
        print_line(text.format(number))
