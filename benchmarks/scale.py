"""What cameras cost: rates of one core, what the second adds, bytes a frame, and what ranking takes.

Runs the stages as a user does, on two H.264 files of 1080p with a keyframe every two seconds, which it makes
by repeating ../shared/videos/vtest.avi where present, else the drawn samples:

- `extract` and `featurize` on `local[1]` and `local[2]`, each held to as many cores, in turns;
- bytes of each table for a frame of a file that repeats nothing;
- `rank` of the same features repeated: the seconds that more frames add to it.

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
from pyspark.sql import functions as F

from framewatch.spark.session import get_spark
from framewatch.tables.spark_tables import Tables

KIND = next(kind for kind in KINDS if kind.name.startswith("h264-1080p"))


def stage(verb: str, output: Path, *arguments: str, cores: int = 2) -> tuple[int, float]:
    """Runs a stage held to some cores; its frames and its seconds, without the start of Spark."""
    command = ["taskset", "--cpu-list", f"0-{cores - 1}", sys.executable, "-m", "framewatch.cli", verb]
    command += [
        f"output={output}",
        f"spark.master=local[{cores}]",
        "spark.conf.spark.driver.memory=4g",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"{verb}:"))
    frames = re.search(r"(\d+) frames", line)
    seconds = re.search(r"in (\d+\.\d+) s", line)
    assert frames and seconds, line
    return int(frames.group(1)), float(seconds.group(1))


def rates(videos: Path, weights: str, rounds: int, directory: Path) -> Path:
    """Measures the stages on one core and on two, and prints frames a second; returns the last output."""
    found: dict[tuple[str, int], list[float]] = {}
    calls = {"extract": f"videos.train={videos}", "featurize": f"featurizer.weights={weights}"}
    for number in range(rounds):
        for cores in (1, 2):
            output = directory / f"out-{cores}-{number}"
            for verb, more in calls.items():
                frames, seconds = stage(verb, output, more, cores=cores)
                found.setdefault((verb, cores), []).append(frames / seconds)
    for verb in ("extract", "featurize"):
        one, two = (statistics.median(found[verb, cores]) for cores in (1, 2))
        print(f"{verb}: {one:.1f} frames/s on one core, {two:.1f} on two: {two / one:.2f} times", flush=True)
    return output


def sizes(once: Path, weights: str, directory: Path) -> None:
    """Prints the bytes of a frame in each table, of footage that repeats nothing."""
    output = directory / "once-out"
    frames, _ = stage("extract", output, f"videos.train={once}")
    stage("featurize", output, f"featurizer.weights={weights}")
    for table in ("frames", "features"):
        size = sum(path.stat().st_size for path in (output / table).rglob("*.parquet"))
        print(f"{table}: {size / frames:,.0f} bytes a frame", flush=True)


def ranking(output: Path, directory: Path) -> None:
    """Ranks the features, repeated a few times and many; prints the seconds that a million more would add."""
    labels = directory / "labels.csv"
    halves = "".join(
        f"{copy}/{KIND.name},{start},{start + 60},{copy}\n" for copy in (0, 1) for start in (0, 100)
    )
    labels.write_text("video,start_s,end_s,label\n" + halves)
    settings = [f"labels.train={labels}", "evaluation.folds=0", "catalog.enabled=false"]
    command = [sys.executable, "-m", "framewatch.cli", "train", f"output={output}", *settings]
    subprocess.run(command, check=True, capture_output=True)
    found = []
    for copies in (10, 50):
        repeated = directory / f"repeated-{copies}"
        repeat(output, repeated, copies)
        more = ["catalog.enabled=false", f"classifier.path={output}/model", "ranking.show=0"]
        found.append(stage("rank", repeated, *more))
        print(f"rank: {found[-1][0]:,} frames in {found[-1][1]:.1f} s", flush=True)
    (few, few_s), (many, many_s) = found
    print(f"rank: {(many_s - few_s) / (many - few) * 1e6:.0f} s for a million more frames, on two cores")


def repeat(output: Path, repeated: Path, copies: int) -> None:
    """Writes the ledger and the features several times, as of so many cameras."""
    spark = get_spark(master="local[2]")
    tables, target = Tables(spark, str(output)), Tables(spark, str(repeated))
    copy = F.concat(F.lit("/"), F.col("id").cast("string"))
    for table in ("features", "videos"):
        rows = tables.read(table).crossJoin(spark.range(copies))
        for name in {"origin", "video"} & set(rows.columns):
            rows = rows.withColumn(name, F.concat(name, copy))
        metadata = {field.name: field.metadata for field in tables.read(table).schema.fields}
        for name, about in metadata.items():
            rows = rows.withMetadata(name, about) if about else rows
        target.write_batch(rows.drop("id", "batch"), table, 0)


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="nsfwjs", help="of InceptionV3 (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300, help="of each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        videos = directory / "videos"
        videos.mkdir()
        make(videos, footage(directory), [KIND], args.seconds)
        once = (videos / "once").rename(directory / "once")
        output = rates(videos, args.weights, args.rounds, directory)
        sizes(once, args.weights, directory)
        ranking(output, directory)


if __name__ == "__main__":
    main()
