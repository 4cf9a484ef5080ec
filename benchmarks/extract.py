"""Seconds of video a second of `framewatch extract`, against the 2018 loop and a bare decoder.

Makes its files by repeating ../shared/videos/vtest.avi where present, else the drawn samples, and measures in
one run, the sides taking turns, on two copies of each file:

(a) the loop of 2018 in Spark: `set(CAP_PROP_POS_MSEC)`, `read()`, `imwrite()` for each second;
(b) a bare `grab()` loop, one process per core, without Spark: one frame a second is retrieved and encoded;
(c) framewatch, exact, on `local[2]`;
(d) framewatch with `sampling.mode=keyframes`;
(e) framewatch with `extract.decode_all=true`.

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
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from framewatch.ingest import frames, listing
from framewatch.ingest.frames import Sampling
from framewatch.spark.session import get_spark

VTEST = Path(__file__).resolve().parents[2] / "shared" / "videos" / "vtest.avi"
CORES = 2
EXACT, KEYFRAMES, ALL = Sampling(), Sampling(tolerance_s=0.5), Sampling(decode_all=True)


@dataclass(frozen=True)
class Kind:
    """A file to measure on."""

    name: str
    codec: str
    rate: int
    gop: int
    size: tuple[int, int]


KINDS = [
    Kind("mpeg2-288p-gop12.mpg", "mpeg2video", 25, 12, (384, 288)),
    Kind("mpeg4-576p-10fps.avi", "mpeg4", 10, 250, (768, 576)),
    Kind("h264-720p-gop25.mp4", "libx264", 25, 25, (1280, 720)),
    Kind("h264-720p-gop250.mp4", "libx264", 25, 250, (1280, 720)),
    Kind("h264-1080p-gop50.mp4", "libx264", 25, 50, (1920, 1080)),
]


def pictures(source: Path) -> Iterator[np.ndarray]:
    """The frames of the source's videos."""
    for path in [source] if source.is_file() else sorted(source.rglob("*.mp*")):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="bgr24")


def encode(path: Path, kind: Kind, source: Path, frames: int = 750) -> None:
    """The source's pictures once, at most `frames` of them."""
    fast = {"preset": "veryfast", "x264-params": "scenecut=0"}
    options = {**(fast if kind.codec == "libx264" else {"sc_threshold": "1000000000"}), "g": str(kind.gop)}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=Fraction(kind.rate), options=options)
        stream.width, stream.height = kind.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.bit_rate = 4_000_000 if kind.size[1] > 600 else 1_500_000
        # Whole groups, so that the next round begins with a keyframe in time.
        for image in itertools.islice(pictures(source), frames):
            resized = cv2.resize(image, kind.size)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(resized, format="bgr24")))
        container.mux(stream.encode(None))


def repeat(path: Path, once: Path, kind: Kind, seconds: float) -> None:
    """Copies the packets of a file again and again, on one clock."""
    with av.open(str(path), "w") as target:
        out, shift_s, end_s = None, Fraction(0), Fraction(0)
        while end_s < seconds:
            with av.open(str(once)) as source:
                stream = source.streams.video[0]
                shift_s -= Fraction(source.start_time or 0, av.time_base)
                out = out or target.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    ticks = round(shift_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                    end_s = max(end_s, packet.pts * packet.time_base + Fraction(1, kind.rate))
                    packet.stream = out
                    target.mux(packet)
            shift_s = Fraction(round(end_s * kind.rate), kind.rate)


def make(directory: Path, source: Path, kinds: list[Kind], seconds: float) -> dict[Kind, list[Path]]:
    """Two copies of a file of each kind."""
    made = {}
    for kind in kinds:
        once, path, copy = (directory / part / kind.name for part in ("once", "0", "1"))
        for file in (once, path, copy):
            file.parent.mkdir(exist_ok=True)
        encode(once, kind, source)
        repeat(path, once, kind, seconds)
        shutil.copy(path, copy)
        made[kind] = [path, copy]
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


def bare_loop(paths: list[Path], rate: int) -> None:
    """One process a video."""
    running = [subprocess.Popen([sys.executable, "-c", BARE, str(path), str(rate)]) for path in paths]
    for process in running:
        process.wait()


def framewatch(
    spark: SparkSession, paths: list[Path], *, chunk_s: float = 1e9, sampling: Sampling = EXACT
) -> None:
    """Plan and extract; the rows go nowhere."""
    videos = listing.list_videos(spark, [str(path) for path in paths]).collect()
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


def footage(directory: Path) -> Path:
    """Real footage where it lies beside the project, else clips drawn into `directory`."""
    if VTEST.is_file():
        return VTEST
    from framewatch.samples import draw_samples

    draw_samples(directory / "samples")
    return directory / "samples"


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a video or a directory of them to repeat")
    names = [kind.name for kind in KINDS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="FILE", help=f"of these: {', '.join(names)}"
    )
    parser.add_argument("--split-only", action="store_true", help="measure local[1] and local[2] only")
    parser.add_argument("--seconds", type=float, default=600, help="of each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = args.source or footage(directory)
        kinds = [kind for kind in KINDS if not args.only or kind.name in args.only]
        files = make(directory, source, kinds, args.seconds)
        if not args.split_only:
            compare(files, args.seconds, args.rounds, directory)
        split(files, args.seconds, args.rounds)


def compare(files: dict[Kind, list[Path]], seconds: float, rounds: int, directory: Path) -> None:
    """Prints the table of sides for each kind."""
    spark = get_spark(master=f"local[{CORES}]")
    framewatch(spark, next(iter(files.values())))
    columns = "".join(f"{f'({side}) s':>9}" for side in "abcde")
    print(f"{'two files of':22}{columns}   a / c  b / c  c / d  e / d")
    for kind, paths in files.items():
        seconds_of = measured(
            {
                "a": lambda paths=paths: loop_of_2018(spark, paths, seconds, directory),
                "b": lambda paths=paths, kind=kind: bare_loop(paths, kind.rate),
                "c": lambda paths=paths: framewatch(spark, paths),
                "d": lambda paths=paths: framewatch(spark, paths, sampling=KEYFRAMES),
                "e": lambda paths=paths: framewatch(spark, paths, sampling=ALL),
            },
            rounds,
        )
        a, b, c, d, e = (seconds_of[side] for side in "abcde")
        times = "".join(f"{value:9.2f}" for value in (a, b, c, d, e))
        print(f"{kind.name:22}{times} {a / c:7.2f}{b / c:7.2f}{c / d:7.2f}{e / d:7.2f}", flush=True)
    spark.stop()


def split(files: dict[Kind, list[Path]], seconds: float, rounds: int) -> None:
    """Prints how long one file takes on one core and on two."""
    for kind, (path, _) in files.items():
        taken = {}
        for cores in (1, CORES):
            spark = get_spark(master=f"local[{cores}]")
            side = {"": lambda spark=spark, path=path: framewatch(spark, [path], chunk_s=seconds / 4)}
            side[""]()
            taken[cores] = measured(side, rounds)[""]
            spark.stop()
        one, two = taken[1], taken[CORES]
        print(
            f"{kind.name:22} local[1] {one:6.2f} s, local[{CORES}] {two:6.2f} s, {two / one:.2f}", flush=True
        )


if __name__ == "__main__":
    main()
