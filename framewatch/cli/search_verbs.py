"""Implements the verbs of similar moments: `framewatch index`, `framewatch search`, `framewatch explore`."""

import argparse
import json
from typing import Any

from framewatch.cli.options import add_config, add_output, config_of
from framewatch.errors import InputError


def add_index(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch index`."""
    parser = verbs.add_parser(
        "index",
        help="Puts the features into Milvus, for `framewatch search`.",
        description="Reads `features`, and what is known of the frames. Brings a collection of Milvus up to "
        "it: a local file, or the server at index.uri. What is there already is left alone, what has changed "
        "is replaced, what is gone is dropped.",
    )
    add_output(parser)
    parser.add_argument("--rebuild", action="store_true", help="drop the collection first")
    add_config(parser, "such as index.clip_s=10")
    return parser


def add_search(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch search`."""
    parser = verbs.add_parser(
        "search",
        help="Finds the moments most like a frame, a picture, a clip or a text.",
        description="Reads the index. Prints the moments most like what is looked for, the best first. "
        "Several things may be given, each with a weight, VALUE*WEIGHT; what has a negative weight is to be "
        "unlike.",
    )
    add_output(parser)
    group = parser.add_argument_group("what to look for")
    for kind, metavar, text in (
        ("frame", "ORIGIN", "a frame of the run, by its name or the end of it"),
        ("image", "FILE", "a picture"),
        ("clip", "VIDEO@FROM-TO", "seconds of a video, such as Fight5@12-18"),
        ("text", "TEXT", "words, where the features are of a CLIP"),
    ):
        group.add_argument(f"--{kind}", action="append", default=[], metavar=metavar, help=text)
    group = parser.add_argument_group("among which moments")
    group.add_argument(
        "--video", action="append", default=[], metavar="V", help="of this video; may be repeated"
    )
    group.add_argument(
        "--camera", action="append", default=[], metavar="DIR", help="of this directory of videos"
    )
    group.add_argument("--between", metavar="T-T", help="in these hours of the day, such as 22:00-06:00")
    group.add_argument("--min-probability", type=float, metavar="P", help="at least so suspicious")
    group.add_argument("--max-probability", type=float, metavar="P", help="at most so suspicious")
    group.add_argument("--label", type=int, choices=(0, 1), help="known to be suspicious, 1, or not, 0")
    group.add_argument("--scope", choices=("frame", "clip", "both"), default="frame", help="default: frame")
    group.add_argument(
        "--without-still", action="store_true", help="leave out near-duplicates of the frame before"
    )
    group = parser.add_argument_group("how to tell")
    group.add_argument("--limit", type=int, default=10, metavar="N", help="hits, 1 to 1000 (default: 10)")
    group.add_argument("--group-by", choices=("video",), help="one hit a video: its best moment")
    group.add_argument("--each", action="store_true", help="tell neighbouring moments one by one")
    group.add_argument("--exact", action="store_true", help="compare with every vector; slower")
    group.add_argument("--in", dest="inside", metavar="VIDEO", help="how similar each second of one video is")
    group.add_argument("--plot", metavar="FILE", help="with --in: the curve as a picture, .png or .svg")
    group.add_argument("--json", action="store_true", help="print JSON")
    group.add_argument("--save", metavar="NAME", help="write OUTPUT/searches/NAME.parquet, for SQL")
    add_config(parser, "such as index.clip_s=10")
    return parser


def add_explore(verbs: Any) -> argparse.ArgumentParser:
    """Adds the parser of `framewatch explore`."""
    parser = verbs.add_parser(
        "explore",
        help="Shows what the footage contains: clusters of frames, and frames unlike anything usual.",
        description="Reads `features`. Writes the tables `clusters` (with a frame that shows each), "
        "`cluster_frames` (each frame's cluster, and whether it is a near-duplicate), `cluster_times` (their "
        "size over time) and `outliers` (frames farthest from anything usual for their camera), and the "
        "report anew.",
    )
    add_output(parser)
    add_config(parser, "such as explore.clusters=20")
    return parser


def explore(args: argparse.Namespace) -> None:
    """Runs `framewatch explore`."""
    from framewatch.pipeline import stages

    config = config_of(args, f"output={args.output}")
    with stages.start(config, "explore", debug=args.debug) as run:
        stages.explore(run)


def index(args: argparse.Namespace) -> None:
    """Runs `framewatch index`."""
    from framewatch.pipeline import search as pipeline

    pipeline.index(config_of(args, f"output={args.output}"), rebuild=args.rebuild, debug=args.debug)


def search(args: argparse.Namespace) -> None:
    """Runs `framewatch search`."""
    from framewatch.pipeline import search as pipeline
    from framewatch.search import rendering
    from framewatch.search.query import KINDS, QueryPart
    from framewatch.search.searcher import Wanted

    config = config_of(args, f"output={args.output}")
    parts = [QueryPart.parse(kind, text) for kind in KINDS for text in getattr(args, kind)]  # type: ignore[arg-type]
    if args.plot is not None and args.inside is None:
        raise InputError("--plot shows one video: give it, --in VIDEO")
    if args.inside is not None:
        _similarity(pipeline.similarity(config, parts, args.inside), args)
        return
    wanted = Wanted(
        limit=args.limit,
        filter=_filter(args, config.output),
        by_video=args.group_by == "video",
        gap_s=None if args.each else config.index.gap_s,
        exact=args.exact,
    )
    hits = pipeline.search(config, parts, wanted)
    if args.save is not None:
        rendering.tell_saved(rendering.save_hits(config.output, args.save, hits))
    if args.json:
        print(json.dumps(rendering.as_json(hits), indent=2, ensure_ascii=False))
    else:
        rendering.tell_hits(hits)


def _similarity(found: tuple[str, Any, Any], args: argparse.Namespace) -> None:
    from framewatch.search import rendering

    video, times_s, values = found
    if args.plot is not None:
        rendering.plot(args.plot, video, times_s, values)
    if args.json:
        print(json.dumps(rendering.curve_json(video, times_s, values), ensure_ascii=False))
    else:
        rendering.tell_curve(video, times_s, values)


def _filter(args: argparse.Namespace, output: str) -> Any:
    from framewatch.search.query import MomentFilter
    from framewatch.search.source import find_cameras, find_videos, parse_day

    between_s = None
    if args.between is not None:
        first, dash, last = args.between.partition("-")
        if not dash:
            raise InputError(f"--between {args.between} is not valid: give two times, such as 22:00-06:00")
        between_s = (parse_day(first), parse_day(last))
    return MomentFilter(
        videos=find_videos(output, args.video),
        cameras=find_cameras(output, args.camera),
        between_s=between_s,
        min_probability=args.min_probability,
        max_probability=args.max_probability,
        label=args.label,
        scope=None if args.scope == "both" else args.scope,
        without_still=args.without_still,
    )
