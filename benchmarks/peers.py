"""One frame a second of videos to InceptionV3 features in Parquet: framewatch, Ray Data, Daft, and two loops.

Makes eight H.264 files of 720p, 80 s each with a keyframe every 10 s, by repeating
../shared/videos/vtest.avi where present, else the drawn samples, and runs the same job with each side:

    python benchmarks/peers.py --weights auto

- `ray`: `ray.data.read_videos`, then an actor class with Keras;
- `daft`: `daft.read_video_frames`, then a class UDF with Keras;
- `recipe`: Spark as in 2018: seek with OpenCV, write JPEG files, then an iterator pandas UDF with Keras;
- `bare`: OpenCV and OpenVINO in one process for each core, without Spark;
- `framewatch`: `framewatch ingest`, with thumbnails.

All run on two cores with the same weights, each in a process of its own, in turns. Ray and Daft have virtual
environments, which pip builds once below `--environments`. The table has the median seconds of whole
processes, and of the job alone: without the start of Python, Ray, or Spark. Memory is the private memory of
all processes of a side and the largest shared memory of one of them. Cosines compare the features with those
of Keras in float32 on the frame of the same video and second. Needs the extra `quantize`, for int8.
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq
from extract import encode, footage, pictures, repeat
from featurize import PRECISIONS, cosines, featurizers, machine, quantize
from ingest import KIND

from framewatch.io.images import encode_jpeg, resize
from framewatch.models.openvino_networks import inference_precision
from framewatch.models.spec import Precision

SIDES = Path(__file__).with_suffix("")
CORES = 2
KERAS = ["tensorflow-cpu>=2.18,<3", "keras>=3.6,<4"]
ENVIRONMENTS = {
    "ray": ["ray[data]>=2.60,<3", "decord", *KERAS],
    "daft": ["daft>=0.7,<0.8", "av", *KERAS],
}


@dataclass(frozen=True)
class Side:
    """A way to do the job."""

    kind: str
    precision: Precision = "float32"
    cores: int = CORES

    @property
    def name(self) -> str:
        """What the table calls this side."""
        precise = f"{self.kind} {self.precision}" if self.kind in ("bare", "framewatch") else self.kind
        return precise if self.cores == CORES else f"{precise}, one core"


# int8: every CPU with AVX-512 VNNI runs it fast, so that decoding and its share of one core count.
FRAMEWATCH_ONE = Side("framewatch", "int8", cores=1)
ALL = [
    *(Side(kind) for kind in ("ray", "daft", "recipe")),
    *(Side(kind, precision) for precision in PRECISIONS for kind in ("bare", "framewatch")),
    FRAMEWATCH_ONE,
]
KINDS = list(dict.fromkeys(side.kind for side in ALL))
# Which sides to compare; the first is so many times as fast as the second.
RATIOS = [
    (Side("framewatch", "bfloat16"), Side("ray")),
    (Side("framewatch", "bfloat16"), Side("bare", "bfloat16")),
    (Side("framewatch", "int8"), Side("ray")),
    (Side("framewatch", "float32"), Side("ray")),
    (Side("framewatch", "float32"), Side("bare", "float32")),
    (Side("framewatch", "int8"), Side("bare", "int8")),
    (Side("framewatch", "int8"), FRAMEWATCH_ONE),
]


@dataclass
class Measured:
    """What the runs of a side took; `error` is why one failed."""

    process_s: list[float] = field(default_factory=list)
    job_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    written_bytes: int = 0
    frames: int = 0
    cosines: np.ndarray = field(default_factory=lambda: np.zeros(0))
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""

    def rates(self) -> tuple[float, float]:
        """Frames a second of the whole process and of the job."""
        return (
            self.frames / statistics.median(self.process_s),
            self.frames / statistics.median(self.job_s),
        )


class SideError(Exception):
    """A side failed."""


# Also no virtual environment, no JSON line, and a table without the columns, or with rows without features.
FAILURES = (SideError, subprocess.SubprocessError, OSError, ValueError, KeyError)


def make(directory: Path, source: Path, files: int, seconds: int) -> Path:
    """Makes the files; returns their directory. Their seconds are below 20 or a multiple of it."""
    videos = directory / "videos"
    videos.mkdir()
    encode(directory / "once.mp4", KIND, source, frames=min(20, seconds) * KIND.rate)
    repeat(videos / "0.mp4", directory / "once.mp4", KIND, seconds)
    for number in range(1, files):
        shutil.copy(videos / "0.mp4", videos / f"{number}.mp4")
    return videos


def networks(weights: str, source: Path, precisions: set[Precision]) -> tuple[str, dict[Precision, str]]:
    """Finds the weights' file, and OpenVINO's network for each precision; makes those that are missing."""
    ours = featurizers(weights)
    if "int8" in precisions:
        images = itertools.islice(pictures(source), 0, 802, 2)
        quantize(ours["int8"], [encode_jpeg(image, quality=95) for image in images])
    paths = {}
    for precision in precisions:
        converted = ours[precision].feature_spec().converted
        assert converted is not None
        paths[precision] = converted.path
    return ours["float32"].network().weights.path, paths


def python_of(kind: str, environments: Path) -> str:
    """Returns the Python that runs a side; builds its virtual environment where it is missing or older."""
    if kind not in ENVIRONMENTS:
        return sys.executable
    directory, requirements = environments / kind, "\n".join(ENVIRONMENTS[kind])
    python, built = directory / "bin" / "python", directory / "requirements.txt"
    if not built.is_file() or built.read_text(encoding="utf-8") != requirements:
        print(f"{kind}: building the environment, which takes minutes", flush=True)
        venv.create(directory, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[kind]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SideError(f"pip: {last_line(done.stderr)}")
        built.write_text(requirements, encoding="utf-8")
    return str(python)


def last_line(text: str) -> str:
    """The last line that is not blank."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def peak_memory(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[int, float]:
    """Waits for a process; returns the most bytes that it and its descendants had, and when it ended.

    Kills all of them when the time is over, and those that outlive the process.
    """
    deadline, peak, root = time.monotonic() + timeout_s, 0, psutil.Process(process.pid)
    tree = [root]
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise SideError(f"took more than {timeout_s:.0f} s")
            with contextlib.suppress(psutil.NoSuchProcess):
                tree = [root, *root.children(recursive=True)]
            peak = max(peak, memory_of(tree))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        ended = time.perf_counter()
        psutil.wait_procs(tree[1:], timeout=10)
    finally:
        for one in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
    return peak, ended


def memory_of(processes: Iterable[psutil.Process]) -> int:
    """Private memory of all, and the largest shared memory of one: libraries, and Ray's object store."""
    private, shared = 0, 0
    for process in processes:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue
        private, shared = private + memory.rss - memory.shared, max(shared, memory.shared)
    return private + shared


def run(side: Side, job: dict[str, Any], python: str, timeout_s: float, measured: Measured) -> None:
    """Runs a side once, held to its cores, and adds what it took."""
    output = Path(job["output"])
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    command = ["taskset", "--cpu-list", f"0-{side.cores - 1}", python, str(SIDES / f"{side.kind}_side.py")]
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen([*command, json.dumps(job)], stdout=printed, stderr=errors)
        peak, ended = peak_memory(process, timeout_s)
        printed.seek(0)
        errors.seek(0)
        if process.returncode:
            line = last_line(errors.read().decode(errors="replace"))
            raise SideError(f"exit status {process.returncode}: {line}")
        answer = json.loads(last_line(printed.read().decode()))
    measured.process_s.append(ended - started)
    measured.job_s.append(answer["seconds"])
    measured.versions = answer["versions"]
    measured.peak_bytes = max(measured.peak_bytes, peak)
    measured.written_bytes = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def read_features(output: Path) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Reads the (video, second) of each row of a side, and its features, (rows, 2048)."""
    keys: list[tuple[str, int]] = []
    features = []
    for path in sorted((output / "features").rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        if not len(table):
            continue
        second = "second" if "second" in table.column_names else "timestamp_s"  # framewatch's name
        seconds = [round(value) for value in table[second].to_pylist()]
        keys += zip(table["video"].to_pylist(), seconds, strict=True)
        column = table["features"].combine_chunks()
        numbers = getattr(column, "storage", column).flatten()  # tensors of Ray are an extension type
        features.append(numbers.to_numpy(zero_copy_only=False).reshape(len(table), -1))
    if not keys:
        raise SideError("wrote no features")
    return keys, np.concatenate(features)


def reference(video: Path, weights: str) -> np.ndarray:
    """Features of one frame a second by Keras in float32, decoded by OpenCV, (seconds, 2048)."""
    import keras

    capture, images = cv2.VideoCapture(str(video)), []
    for number in itertools.count():
        if not capture.grab():
            break
        if number % KIND.rate == 0:
            images.append(resize(capture.retrieve()[1], 299)[..., ::-1].astype(np.float32))
    model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
    model.load_weights(weights)
    return model.predict(keras.applications.inception_v3.preprocess_input(np.stack(images)), verbose=0)


def compare(output: Path, wanted: np.ndarray, files: int, measured: Measured) -> None:
    """Adds the number of frames and their cosines; all files have the same frames."""
    keys, features = read_features(output)
    measured.frames = len(keys)
    expected = set(range(len(wanted)))
    if len(set(keys)) != len(keys) or not {second for _, second in keys} <= expected:
        raise SideError(f"wrote frames twice, or beyond the {len(wanted)} seconds of a video")
    if len({video for video, _ in keys}) != files:
        raise SideError(f"wrote features of {len({video for video, _ in keys})} videos, not of {files}")
    measured.cosines = cosines(features, wanted[[second for _, second in keys]])


def measure(sides: list[Side], jobs: dict[Side, dict[str, Any]], args: Any) -> dict[Side, Measured]:
    """Runs the sides in turns; a side that fails is not run again."""
    found = {side: Measured() for side in sides}
    for _ in range(args.rounds):
        for side, measured in found.items():
            if measured.error:
                continue
            try:
                python = python_of(side.kind, args.environments)
                run(side, jobs[side], python, args.timeout, measured)
                print(f"{side.name}: {measured.process_s[-1]:.1f} s", flush=True)
            except FAILURES as error:
                measured.error = last_line(str(error))[:200]
                print(f"{side.name}: failed: {measured.error}", flush=True)
    return found


def show(found: dict[Side, Measured]) -> None:
    """Prints the table, the ratios and the versions."""
    print(f"\n{machine()}\n")
    print(f"{'':36}{'whole process':>17}{'job alone':>17}{'peak':>9}{'written':>9}  cosine to Keras")
    print(
        f"{'side':29} {'frames':>6}{'s':>8}{'frames/s':>9}{'s':>8}{'frames/s':>9}{'MB':>9}{'MB':>9} "
        f"{'mean':>9} {'least':>9}"
    )
    for side, measured in found.items():
        if measured.error:
            print(f"{side.name:29} failed: {measured.error}")
            continue
        whole, job = measured.rates()
        print(
            f"{side.name:29} {measured.frames:6}{statistics.median(measured.process_s):8.1f}{whole:9.2f}"
            f"{statistics.median(measured.job_s):8.1f}{job:9.2f}"
            f"{measured.peak_bytes / 1e6:9,.0f}{measured.written_bytes / 1e6:9.2f} "
            f"{measured.cosines.mean():9.6f} {measured.cosines.min():9.6f}"
        )
    print()
    for fast, slow in RATIOS:
        if fast in found and slow in found and not found[fast].error and not found[slow].error:
            pairs = zip(found[fast].rates(), found[slow].rates(), strict=True)
            whole, job = (a / b for a, b in pairs)
            print(f"{fast.name} to {slow.name}: {whole:.2f} times the frames/s, {job:.2f} for the job alone")
    versions: dict[str, dict[str, str]] = {}
    for side, measured in found.items():
        versions.setdefault(side.kind, measured.versions)
    for kind, numbers in versions.items():
        if numbers:
            print(f"{kind}: {', '.join(f'{name} {number}' for name, number in numbers.items())}")


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--source", type=Path, help="a video or a directory of them to repeat")
    parser.add_argument("--weights", default="auto", help="as featurizer.weights (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=KINDS, metavar="SIDE", help=f"of {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=list(PRECISIONS),
        help="of OpenVINO; a CPU without bfloat16 emulates it, slowly (default: all)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each side (default: %(default)s)")
    parser.add_argument("--files", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=80, help="of each file: below 20, or a multiple (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=1800, help="seconds until a run has failed (default: %(default)s)"
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=cache / "framewatch-peers",
        help="where the virtual environments are kept (default: framewatch-peers in the user's cache)",
    )
    args = parser.parse_args()
    if args.seconds > 20 and args.seconds % 20:
        parser.error("--seconds: give a number below 20, or a multiple of it")
    sides = [
        side
        for side in ALL
        if side.kind in args.only
        and (side.kind not in ("bare", "framewatch") or side.precision in args.precisions)
    ]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = args.source or footage(directory)
        videos = make(directory, source, args.files, args.seconds)
        precisions = {side.precision for side in sides if side.kind in ("bare", "framewatch")}
        weights, converted = networks(args.weights, source, precisions)
        jobs = {
            side: {
                "videos": str(videos),
                "output": str(directory / f"output-{number}"),
                "cores": side.cores,
                "weights": weights,
                "weights_name": args.weights,
                "network": converted.get(side.precision),
                "precision": side.precision,
                "inference_precision": inference_precision(side.precision),
            }
            for number, side in enumerate(sides)
        }
        found = measure(sides, jobs, args)
        wanted = reference(videos / "0.mp4", weights)
        for side, measured in found.items():
            try:
                if not measured.error:
                    compare(Path(jobs[side]["output"]), wanted, args.files, measured)
            except FAILURES as error:
                measured.error = last_line(str(error))[:200]
        show(found)


if __name__ == "__main__":
    main()
