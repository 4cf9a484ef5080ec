"""Seconds of video a second of `framewatch extract`, against the 2018 loop and a bare decoder.

Makes its files by repeating ../shared/videos/vtest.avi where present, else the drawn samples, and measures in
one run, the sides taking turns, on two copies of each file:



(a) the loop of 2018 in Spark: `set(CAP_PROP_POS_MSEC)`, `read()`, `imwrite()` for each second;
(b) a bare `grab()` loop, one process per core, without Spark: one frame a second is retrieved and encoded;
(c) framewatch, exact, on `local[2]`;
(d) framewatch with `sampling.mode=keyframes`.

Then one file alone, in parts, on `local[1]` and `local[2]`.
"""

import argparse
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from framewatch import frames, listing
from framewatch.frames import Sampling
from framewatch.session import get_spark

VTEST = Path(__file__).resolve().parents[2] / "shared" / "videos" / "vtest.avi"
CORES = 2
RATE = 25
EXACT, KEYFRAMES = Sampling(), Sampling(tolerance_s=0.5)

# file name, encoder, keyframe interval, (width, height)
KINDS = [
    ("mpeg2-288p-gop12.mpg", "mpeg2video", 12, (384, 288)),
    ("mpeg4-288p.avi", "mpeg4", 12, (384, 288)),
    ("h264-720p-gop25.mp4", "libx264", 25, (1280, 720)),
    ("h264-720p-gop250.mp4", "libx264", 250, (1280, 720)),
    ("h264-1080p-gop50.mp4", "libx264", 50, (1920, 1080)),
]


def pictures(source: Path) -> Iterator[np.ndarray]:
    """The frames of the source's videos, again and again."""
    paths = [source] if source.is_file() else sorted(source.rglob("*.mp*"))
    while True:
        for path in paths:
            with av.open(str(path)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="bgr24")


def make(directory: Path, source: Path, seconds: float) -> dict[str, list[Path]]:
    """Two copies of a file of each kind."""
    made = {}
    for name, codec, gop, (width, height) in KINDS:
        path = directory / "0" / name
        path.parent.mkdir(exist_ok=True)
        options = {"preset": "veryfast"} if codec == "libx264" else {}
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(RATE), options={**options, "g": str(gop)})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.bit_rate = 4_000_000 if height > 300 else 1_500_000
            for image in itertools.islice(pictures(source), int(seconds * RATE)):
                resized = cv2.resize(image, (width, height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(resized, format="bgr24")))
            container.mux(stream.encode(None))
        copy = directory / "1" / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        made[name] = [path, copy]
    return made


def loop_of_2018(spark: SparkSession, paths: list[Path], seconds: float, directory: Path) -> None:
    """Seek to each second, read, write a JPEG file; one task a video."""

    def extract(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for path in batch["path"]:
                capture, second = cv2.VideoCapture(path), 0
                while second < seconds:
                    capture.set(cv2.CAP_PROP_POS_MSEC, second * 1000)
                    read, image = capture.read()
                    if not read:
                        break
                    name = f"{path}.{second:04d}.jpg".replace("/", "_")
                    cv2.imwrite(str(directory / name), image)
                    second += 1
                yield pd.DataFrame({"path": [path], "n": [second]})

    rows = spark.createDataFrame([(str(path),) for path in paths], "path string")
    rows.repartition(len(paths), "path").mapInPandas(extract, "path string, n int").collect()


BARE = """
import sys, cv2
cv2.setNumThreads(1)
capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
number = 0
while capture.grab():
    if number % int(sys.argv[2]) == 0:
        cv2.imencode(".jpg", capture.retrieve()[1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    number += 1
"""


def bare_loop(paths: list[Path]) -> None:
    """One process a video."""
    running = [subprocess.Popen([sys.executable, "-c", BARE, str(path), str(RATE)]) for path in paths]
    for process in running:
        process.wait()


def framewatch(
    spark: SparkSession, paths: list[Path], *, chunk_s: float = 1e9, sampling: Sampling = EXACT
) -> None:
    """Plan and extract; the rows go nowhere."""
    videos = listing.list_videos(spark, [str(path) for path in paths]).orderBy("video").collect()
    parts = frames.plan_parts(spark, videos, sampling=sampling, chunk_s=chunk_s)
    extracted = frames.extract_frames(parts, sampling=sampling, images_root="out")
    extracted.write.format("noop").mode("overwrite").save()


def measured(sides: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of each side: the median of `rounds`, the sides taking turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a video or a directory of them to repeat")
    parser.add_argument("--seconds", type=float, default=600, help="of each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = args.source or (VTEST if VTEST.is_file() else None)
        if source is None:
            from framewatch.samples import draw_samples

            source = directory / "samples"
            draw_samples(source)
        files = make(directory, source, args.seconds)
        compare(files, args.seconds, args.rounds, directory)
        split(files, args.seconds, args.rounds)


def compare(files: dict[str, list[Path]], seconds: float, rounds: int, directory: Path) -> None:
    """Prints the table of sides for each kind."""
    spark = get_spark(master=f"local[{CORES}]")
    warm = next(iter(files.values()))
    framewatch(spark, warm)
    print(f"{'two files of':24} {'(a) s':>8} {'(b) s':>8} {'(c) s':>8} {'(d) s':>8} a / c  b / c  c / d")
    for name, paths in files.items():
        seconds_of = measured(
            {
                "a": lambda paths=paths: loop_of_2018(spark, paths, seconds, directory),
                "b": lambda paths=paths: bare_loop(paths),
                "c": lambda paths=paths: framewatch(spark, paths),
                "d": lambda paths=paths: framewatch(spark, paths, sampling=KEYFRAMES),
            },
            rounds,
        )
        a, b, c, d = (seconds_of[side] for side in "abcd")
        times, ratios = f"{a:8.2f} {b:8.2f} {c:8.2f} {d:8.2f}", f"{a / c:6.2f} {b / c:6.2f} {c / d:6.2f}"
        print(f"{name:24} {times} {ratios}", flush=True)
    spark.stop()


def split(files: dict[str, list[Path]], seconds: float, rounds: int) -> None:
    """Prints how long one file takes on one core and on two."""
    for name, (path, _) in files.items():
        taken = {}
        for cores in (1, CORES):
            spark = get_spark(master=f"local[{cores}]")
            side = {"": lambda spark=spark, path=path: framewatch(spark, [path], chunk_s=seconds / 4)}
            side[""]()
            taken[cores] = measured(side, rounds)[""]
            spark.stop()
        one, two = taken[1], taken[CORES]
        print(f"{name:24} local[1] {one:6.2f} s, local[{CORES}] {two:6.2f} s, {two / one:.2f}", flush=True)


if __name__ == "__main__":
    main()
