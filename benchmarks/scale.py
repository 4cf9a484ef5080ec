"""What cameras cost: rates of `ingest` on one core and on two, and bytes a frame.

Runs the stage as a user does, on two H.264 files of 1080p with a keyframe every two seconds, which it makes
by repeating ../shared/videos/vtest.avi where present, else the drawn samples: on `local[1]` and `local[2]`,
each held to as many cores, in turns. Then it prints the bytes of each table for a frame of a file that
repeats nothing. What ranking costs is in grow.py.

docs/scale.md works out clusters from what it prints.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from extract import KINDS, footage, make

KIND = next(kind for kind in KINDS if kind.name.startswith("h264-1080p"))
TABLES = ("frames", "features", "contents")


def stage(verb: str, output: Path, *arguments: str, cores: int = 2) -> tuple[int, float]:
    """Runs a stage held to some cores; its frames and its seconds, without the start of Spark."""
    command = ["taskset", "--cpu-list", f"0-{cores - 1}", sys.executable, "-m", "framewatch.cli", verb]
    command += [f"output={output}", f"spark.master=local[{cores}]", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"{verb}:"))
    found = re.search(r"(\d+) frames in (\d+\.\d+) s", line)
    assert found, line
    return int(found.group(1)), float(found.group(2))


def rates(videos: Path, settings: list[str], rounds: int, directory: Path) -> None:
    """Measures the stage on one core and on two, and prints frames a second."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for cores, rates_of in found.items():
            output = directory / f"out-{cores}-{number}"
            frames, seconds = stage("ingest", output, f"videos.train={videos}", *settings, cores=cores)
            rates_of.append(frames / seconds)
    one, two = (statistics.median(rates_of) for rates_of in found.values())
    print(f"ingest: {one:.1f} frames/s on one core, {two:.1f} on two: {two / one:.2f} times", flush=True)


def sizes(once: Path, settings: list[str], directory: Path) -> None:
    """Prints the bytes of a frame in each table, of footage that repeats nothing."""
    for precision in ("single", "half"):
        output = directory / precision
        stored = f"features.precision={precision}"
        frames, _ = stage("ingest", output, f"videos.train={once}", stored, *settings)
        for table in TABLES:
            size = sum(path.stat().st_size for path in (output / table).rglob("*.parquet"))
            print(f"{table}, features.precision={precision}: {size / frames:,.0f} bytes a frame", flush=True)


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="auto", help="of InceptionV3 (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="of the network (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300, help="of each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (default: %(default)s)")
    args = parser.parse_args()
    settings = [f"featurizer.weights={args.weights}", f"featurizer.precision={args.precision}"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        videos = directory / "videos"
        videos.mkdir()
        make(videos, footage(directory), [KIND], args.seconds)
        once = (videos / "once").rename(directory / "once")
        rates(videos, settings, args.rounds, directory)
        sizes(once, settings, directory)


if __name__ == "__main__":
    main()
