"""CPU time of `sampling.mode=keyframes` against exact sampling, at 1 and at 0.1 frames per second.

    python benchmarks/keyframes.py [--seconds 120] [--only h264-720p-ntsc-30 ...]

Encodes ../shared/videos/vtest.avi where present, else the drawn samples, with keyframes at the times of the
samples or between them. B-frames are off, as in most cameras. A child process extracts the samples of a whole
file, JPEG included, without Spark. The sides take turns; the table shows the medians of their CPU seconds.
"""

import argparse
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from extract import footage, pictures

from framewatch.video.extraction import handle_request

# Samples per second, and the tolerance of the keyframes mode in seconds.
RATES = [(1.0, 0.5), (0.1, 1.0)]


@dataclass(frozen=True)
class Kind:
    """A file to measure on.

    Attributes:
        name: of the file.
        codec: encoder of FFmpeg.
        size: width and height in pixels.
        rate: frames per second.
        gop: frames from one keyframe to the next.
        first: number of the first keyframe after frame 0.
    """

    name: str
    codec: str
    size: tuple[int, int]
    rate: Fraction
    gop: int
    first: int


HD, FULL_HD = (1280, 720), (1920, 1080)
PAL, NTSC = Fraction(25), Fraction(30_000, 1001)
KINDS = [
    Kind("h264-720p-at-1s", "libx264", HD, PAL, gop=25, first=25),
    Kind("h264-720p-between-1s", "libx264", HD, PAL, gop=25, first=13),
    Kind("h264-1080p-between-2s", "libx264", FULL_HD, PAL, gop=50, first=25),
    Kind("h264-720p-ntsc-30", "libx264", HD, NTSC, gop=30, first=30),
    Kind("h264-720p-ntsc-60", "libx264", HD, NTSC, gop=60, first=60),
    Kind("hevc-720p-between-2s", "libx265", HD, PAL, gop=50, first=25),
]
OPTIONS = {
    "libx264": {"preset": "veryfast", "bf": "0", "forced-idr": "1", "x264-params": "scenecut=0:keyint=9999"},
    "libx265": {
        "preset": "ultrafast",
        "forced-idr": "1",
        "x265-params": "log-level=none:scenecut=0:keyint=9999:bframes=0",
    },
}


def encode(path: Path, kind: Kind, source: Path, seconds: float) -> None:
    """Writes the source's pictures again and again, with the keyframes of `kind`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=kind.rate, options=OPTIONS[kind.codec])
        stream.width, stream.height = kind.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        for number, image in enumerate(itertools.islice(endless(source), round(seconds * kind.rate))):
            frame = av.VideoFrame.from_ndarray(cv2.resize(image, kind.size), format="bgr24")
            if number >= kind.first and (number - kind.first) % kind.gop == 0:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def endless(source: Path) -> Iterator[np.ndarray]:
    """The pictures of the source, and again from its beginning."""
    while True:
        yield from pictures(source)


def cpu_seconds(path: Path, fps: float, tolerance_s: float) -> tuple[float, int]:
    """CPU seconds of this process to extract all samples, and their number; tolerance 0 is exact."""
    part = {"source": str(path), "first": 0, "stop": None, "decode_all": False}
    encoding = {"jpeg_quality": 95, "max_side": 0}
    request = {"task": "extract", "fps": fps, "tolerance_s": tolerance_s, **part, **encoding}
    started = time.process_time()
    *_, (header, _) = handle_request(request)
    outcome = header["outcome"]
    assert outcome["failure"] is None, outcome
    return time.process_time() - started, outcome["num_frames"]


def compare(child: ProcessPoolExecutor, path: Path, rounds: int) -> None:
    """Prints a row for each sampling rate."""
    for fps, tolerance_s in RATES:
        times: dict[float, list[float]] = {0.0: [], tolerance_s: []}
        num_frames = set()
        for side in [*times] * rounds:
            seconds, number = child.submit(cpu_seconds, path, fps, side).result()
            times[side].append(seconds)
            num_frames.add(number)
        exact, keyframes = (statistics.median(values) for values in times.values())
        row = f"{exact:9.2f}{keyframes:12.2f}{exact / keyframes:8.2f}"
        print(f"{path.stem:24}{fps:5g}{'/'.join(map(str, num_frames)):>9}{row}", flush=True)


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a video or a directory of them to encode")
    names = [kind.name for kind in KINDS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="FILE", help=f"of these: {', '.join(names)}"
    )
    parser.add_argument("--seconds", type=float, default=120, help="of each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (default: %(default)s)")
    args = parser.parse_args()
    print(f"{'file':24}{'fps':>5}{'samples':>9}{'exact s':>9}{'keyframes s':>12}{'ratio':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = args.source or footage(directory)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            for kind in KINDS:
                if args.only and kind.name not in args.only:
                    continue
                if kind.codec not in av.codecs_available:
                    print(f"{kind.name:24}FFmpeg has no {kind.codec}", flush=True)
                    continue
                path = directory / f"{kind.name}.mp4"
                encode(path, kind, source, args.seconds)
                child.submit(cpu_seconds, path, *RATES[-1]).result()  # reads the file and imports once
                compare(child, path, args.rounds)
                path.unlink()


if __name__ == "__main__":
    main()
