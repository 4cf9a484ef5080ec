"""Seconds of `framewatch ingest`, against `extract` and `featurize`, and what its pipe costs.

Makes eight H.264 files of 720p, 80 s each with a keyframe every 10 s, by repeating
../shared/videos/vtest.avi where present, else the drawn samples:

    python benchmarks/ingest.py --weights auto

The sides take turns on `local[2]`, each with outputs of its own. The seconds are those of the closing lines,
without the start of Spark. Then the decoder alone: a file through the child process with pixels of 299 x 299
and a thumbnail for each sample, and the same in this process.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from extract import KINDS, encode, footage, repeat
from scale import stage

from framewatch.video.extraction import handle_request
from framewatch.video.process import DecoderProcess
from framewatch.video.worker import NetworkInput, Sampling, extraction_request

KIND = next(kind for kind in KINDS if kind.name == "h264-720p-gop250.mp4")
INPUT = NetworkInput(299, "area", 50_000_000)


def make(directory: Path, source: Path, files: int, seconds: float) -> Path:
    """Makes the files; returns their directory."""
    videos = directory / "videos"
    videos.mkdir()
    encode(directory / "once.mp4", KIND, source)
    repeat(videos / "0.mp4", directory / "once.mp4", KIND, seconds)
    for number in range(1, files):
        shutil.copy(videos / "0.mp4", videos / f"{number}.mp4")
    return videos


def compare(videos: Path, weights: str, rounds: int, directory: Path) -> None:
    """Prints the seconds of both ways, medians of `rounds`."""
    taken: dict[str, list[float]] = {"extract": [], "featurize": [], "ingest": []}
    common = [f"videos.train={videos}", f"featurizer.weights={weights}"]
    for number in range(rounds):
        for verb, seconds in taken.items():
            output = directory / f"{'one' if verb == 'ingest' else 'two'}-{number}"
            frames, found = stage(verb, output, *common)
            seconds.append(found)
            print(f"{verb}: {frames} frames in {found:.1f} s", flush=True)
    extract, featurize, ingest = (statistics.median(seconds) for seconds in taken.values())
    print(
        f"extract + featurize {extract:.1f} + {featurize:.1f} s, ingest {ingest:.1f} s: "
        f"{(extract + featurize) / ingest:.2f} times as fast"
    )


def pipe(video: Path, rounds: int) -> None:
    """Prints the seconds of decoding a file in the child process and in this one."""
    part = {"video": str(video), "first": 0, "stop": None}
    request = extraction_request(part, Sampling(keep="thumbnails"), network_input=INPUT)
    child = DecoderProcess()
    sum(1 for _ in child.run(request, timeout_s=600))  # starts it
    sides = {
        "child": lambda: sum(len(data) for _, data in child.run(request, timeout_s=600)),
        "here": lambda: sum(len(data) for _, data in handle_request(dict(request))),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            num_bytes = side()
            times[name].append(time.perf_counter() - started)
    child.end()
    in_child, here = (statistics.median(times[name]) for name in sides)
    print(
        f"one file, {num_bytes / 1e6:.1f} MB: {in_child:.2f} s through the pipe, {here:.2f} s in "
        f"this process, {in_child / here - 1:+.1%}"
    )


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a video or a directory of them to repeat")
    parser.add_argument("--weights", default="imagenet", help="of the network (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="of each side (default: %(default)s)")
    parser.add_argument("--files", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=80, help="of each file (default: %(default)s)")
    parser.add_argument("--pipe-only", action="store_true", help="measure the decoder alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        videos = make(directory, args.source or footage(directory), args.files, args.seconds)
        if not args.pipe_only:
            compare(videos, args.weights, args.rounds, directory)
        pipe(videos / "0.mp4", max(3, args.rounds))


if __name__ == "__main__":
    main()
