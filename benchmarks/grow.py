"""What one more video costs beside 10,000, 100,000 and 1,000,000 frames, stage by stage.

Draws outputs of so many frames, in videos of 200 frames and batches of 10,000: their ledger, `frames` with
tiny thumbnails, and `features` of frames that resemble their neighbours. Trains on some of them, ranks
and indexes all, and then adds videos of 600 frames, one at a time, as a user does: `ingest`, `rank`, `index`
and `report`, one process each. It prints the median seconds of each, and the megabytes that all of its
processes read, from the disk or from the system's memory. Indexing all of 1,000,000 frames with Milvus Lite
takes about an hour: `--stages ingest rank report` leaves it out.

    python benchmarks/grow.py [--frames 10000 100000 1000000] [--rounds 3] [--directory DIR]

`--driver` measures something else: the most memory of the driver's processes, Python and the JVM, when
`ingest` lists 1,000,000 files of which the ledger has all, with 10,000,000 frames.
"""

import argparse
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from processes import usage

PROGRAM = [sys.executable, "-m", "framewatch.cli"]
FRAMES_PER_VIDEO, VIDEOS_PER_BATCH, FRAMES_PER_FILE = 200, 50, 2000
# Of each video, these frames are suspicious, and a scene lasts so many frames.
SUSPICIOUS, SCENE = range(50, 60), 10
NEW_SECONDS = 600
THUMBNAIL = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
STAGES = ["ingest", "rank", "index", "report"]
SETTINGS = [
    "features.precision=half",
    "featurizer.weights=auto",
    "ranking.show=0",
    "catalog.enabled=false",
]


def run(*arguments: str) -> tuple[float, float]:
    """Runs a verb; returns its seconds, and the megabytes that its processes have read."""
    started = time.perf_counter()
    with usage() as used:
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, used.read_bytes / 1e6


def film(path: Path, seconds: int, seed: int) -> None:
    """Encodes a video of moving blocks, two pictures a second."""
    random = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 2, (160, 120))
    ground = random.integers(0, 255, (120, 160, 3), np.uint8)
    for number in range(2 * seconds):
        image = ground.copy()
        x = number * 7 % 140
        image[50:70, x : x + 20] = random.integers(0, 255, 3)
        writer.write(image)
    writer.release()


class Output:
    """An output of drawn frames, made from what `framewatch ingest` wrote of one short video."""

    def __init__(self, directory: Path, num_frames: int) -> None:
        """Draws the output below `directory`, or takes the one that is there."""
        self.directory, self.num_frames = directory, num_frames
        self.videos, self.path = directory / "videos", directory / "output"
        if not (directory / "drawn").exists():
            shutil.rmtree(directory, ignore_errors=True)
            self.videos.mkdir(parents=True)
            self._draw()
            (directory / "drawn").touch()

    def arguments(self, *more: str) -> list[str]:
        """The arguments of a stage."""
        return [f"videos.test={self.videos}", f"output={self.path}", *SETTINGS, *more]

    def _draw(self) -> None:
        seed = self.directory / "seed"
        seed.mkdir()
        film(seed / "seed.mp4", 4, seed=0)
        run("ingest", f"videos.test={seed}", f"output={self.path}", *SETTINGS)
        tables = {table: _only_file(self.path / table) for table in ("videos", "frames", "features")}
        shutil.rmtree(self.path)
        num_batches = max(1, self.num_frames // (FRAMES_PER_VIDEO * VIDEOS_PER_BATCH))
        jobs = [(self.videos, self.path, tables, number) for number in range(num_batches)]
        with ProcessPoolExecutor(2) as processes:
            list(processes.map(_draw_batch, *zip(*jobs, strict=True)))
        lines = ["video,start_s,end_s,label"]
        for number in range(20):
            bounds = (0, SUSPICIOUS.start, SUSPICIOUS.stop, FRAMES_PER_VIDEO)
            for label, begin, end in zip((0, 1, 0), bounds, bounds[1:], strict=False):
                lines.append(f"{_name(number)}.mp4,{begin},{end},{label}")
        (self.directory / "labels.csv").write_text("\n".join(lines), encoding="utf-8")


def _name(video: int) -> str:
    return f"camera{video // 100:04d}/clip{video:06d}"


def _only_file(table: Path) -> pa.Table:
    (path,) = table.rglob("*.parquet")
    return pq.ParquetFile(path).read()


def _draw_batch(videos: Path, output: Path, seed: dict[str, pa.Table], batch: int) -> None:
    """Writes a batch of all tables, and a file of one byte for each video, which nobody opens."""
    numbers = range(batch * VIDEOS_PER_BATCH, (batch + 1) * VIDEOS_PER_BATCH)
    uris, rows = {}, []
    like = seed["videos"].to_pylist()[0]
    for number in numbers:
        path = videos / f"{_name(number)}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"-")
        uris[number] = path.as_uri().replace("file:///", "file:/")
        row = {"video": uris[number], "name": _name(number), "num_frames": FRAMES_PER_VIDEO, "size_bytes": 1}
        rows.append({**like, **row, "modified_ms": path.stat().st_mtime_ns // 1_000_000})
    _write(output, "videos", batch, 0, pa.Table.from_pylist(rows, schema=seed["videos"].schema))
    random = np.random.default_rng(batch)
    at_once = FRAMES_PER_FILE // FRAMES_PER_VIDEO
    for file in range(VIDEOS_PER_BATCH // at_once):
        of_file = numbers[file * at_once : (file + 1) * at_once]
        pairs = [(number, second) for number in of_file for second in range(FRAMES_PER_VIDEO)]
        common = {
            "origin": [f"{output}/images/{_name(number)}frame{second:04d}.jpg" for number, second in pairs],
            "video": [uris[number] for number, _ in pairs],
            "frame_index": [second for _, second in pairs],
            "timestamp_s": [float(second) for _, second in pairs],
        }
        drawn = pa.ListArray.from_arrays(
            np.arange(len(pairs) + 1, dtype=np.int32) * 2048, _vectors(random, at_once).ravel()
        )
        _write_like(output, "features", batch, file, seed, {**common, "features": drawn})
        # Each picture differs, as real ones do: of equal ones, Parquet stores one.
        content = [
            THUMBNAIL + number.to_bytes(8, "big")
            for number in random.integers(1 << 62, size=len(pairs)).tolist()
        ]
        _write_like(output, "frames", batch, file, seed, {**common, "content": content})


def _vectors(random: np.random.Generator, videos: int) -> np.ndarray:
    """Draws features of videos, (videos * FRAMES_PER_VIDEO, 2048), rounded as in half precision."""
    places = random.random((videos, 1, 2048), np.float32)
    scenes = np.repeat(random.random((videos, FRAMES_PER_VIDEO // SCENE, 2048), np.float32), SCENE, axis=1)
    noise = random.random((videos, FRAMES_PER_VIDEO, 2048), np.float32)
    rows = places + 0.5 * scenes + 0.05 * noise
    rows[:, SUSPICIOUS.start : SUSPICIOUS.stop, :64] += 1
    bits = rows.reshape(-1, 2048).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _write_like(
    output: Path, table: str, batch: int, file: int, seed: dict[str, pa.Table], columns: dict[str, Any]
) -> None:
    """Writes columns, and for the others the first row of the seed."""
    count, like = len(columns["origin"]), seed[table].slice(0, 1)
    filled = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.array([like[field.name][0].as_py()] * count, field.type)
        for field in like.schema
    ]
    _write(output, table, batch, file, pa.Table.from_arrays(filled, schema=like.schema))


def _write(output: Path, table: str, batch: int, file: int, rows: pa.Table) -> None:
    path = output / table / f"batch={batch}" / f"part-{file:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Spark writes times as INT96.
    pq.write_table(rows, path, compression="zstd", row_group_size=1000, use_deprecated_int96_timestamps=True)


def grow(
    directory: Path, num_frames: int, rounds: int, wanted: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """Draws an output, adds videos and measures; returns seconds and megabytes of each stage."""
    output = Output(directory / str(num_frames), num_frames)
    labels = f"labels.train={output.directory}/labels.csv"
    commands = {
        "ingest": ["ingest", *output.arguments()],
        "rank": ["rank", *output.arguments()],
        "index": ["index", str(output.path)],
        "report": ["report", str(output.path)],
    }
    stages = {stage: commands[stage] for stage in STAGES if stage in wanted}
    first = {"train": ["train", *output.arguments(labels)], **stages}
    made = {"train": "model", "rank": "ranking.json", "index": "search"}
    for stage, command in first.items():
        if stage in made and not (output.path / made[stage]).exists():
            seconds, megabytes = run(*command)
            print(f"{num_frames} frames, all new: {stage} {seconds:.0f} s, {megabytes:,.0f} MB", flush=True)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("nothing new", *stages)}
    for number in range(rounds):
        found["nothing new"].append(run(*stages["ingest"]))
        path = output.videos / f"new{time.time():.0f}.mp4"
        film(path, NEW_SECONDS, seed=number)
        for stage, command in stages.items():
            found[stage].append(run(*command))
        line = ", ".join(f"{stage} {values[-1][0]:.1f} s" for stage, values in found.items())
        print(f"{num_frames} frames, one more video: {line}", flush=True)
    return found


def show(found: dict[int, dict[str, list[tuple[float, float]]]]) -> None:
    """Prints medians, and the ratio of the largest output to the one before it."""
    sizes = sorted(found)
    print("\n| seconds (MB read) | " + " | ".join(f"{size:,} frames" for size in sizes) + " | ratio |")
    print("| --- |" + " ---: |" * (len(sizes) + 1))
    for stage in found[sizes[0]]:
        medians = {
            size: [statistics.median(column) for column in zip(*found[size][stage], strict=True)]
            for size in sizes
        }
        cells = [f"{seconds:.1f} ({read:,.0f})" for seconds, read in medians.values()]
        ratio = medians[sizes[-1]][0] / medians[sizes[-2]][0] if len(sizes) > 1 else float("nan")
        print(f"| {stage} | {' | '.join(cells)} | {ratio:.2f} |")


def driver(directory: Path, files: int, frames_per_video: int) -> None:
    """Prints the most memory of the driver while `ingest` finds nothing new among many files."""
    output = Output(directory / "driver", FRAMES_PER_VIDEO * VIDEOS_PER_BATCH)
    known = files - 1
    like = _only_file(output.path / "videos" / "batch=0").to_pylist()[0]
    schema = _only_file(output.path / "videos" / "batch=0").schema
    per_batch = 10_000
    for batch in range(1, 1 + known // per_batch):
        rows = []
        for number in range((batch - 1) * per_batch, batch * per_batch):
            path = output.videos / f"many{number // 1000:04d}" / f"clip{number:07d}.mp4"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"-")
            row = {"video": path.as_uri().replace("file:///", "file:/"), "num_frames": frames_per_video}
            row |= {"name": f"{path.parent.name}/{path.stem}", "size_bytes": 1}
            rows.append({**like, **row, "modified_ms": path.stat().st_mtime_ns // 1_000_000})
        _write(output.path, "videos", batch, 0, pa.Table.from_pylist(rows, schema=schema))
    command = [*PROGRAM, "ingest", *output.arguments()]
    started, peaks = time.perf_counter(), Counter[str]()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None:
        found = _driver_bytes(process.pid)
        peaks |= found | Counter(all=found.total())  # the largest of each
        time.sleep(0.2)
    assert process.stdout is not None
    print(process.stdout.read()[-500:])
    of_each = ", ".join(f"{name} {peak / 1e9:.2f}" for name, peak in peaks.items())
    print(f"{files:,} files: {time.perf_counter() - started:.0f} s, at most, in GB: {of_each}")


def _driver_bytes(pid: int) -> Counter[str]:
    """Private memory of the driver: of Python, of the JVM, and of workers, which a cluster has elsewhere."""
    found = Counter[str]()
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            memory, name = process.memory_info(), process.name()
            kind = "Python" if process.pid == pid else "JVM" if name == "java" else "workers"
            found[kind] += memory.rss - memory.shared
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--rounds", type=int, default=3, help="videos to add (default: %(default)s)")
    parser.add_argument(
        "--directory", type=Path, help="keep the outputs there, and take those that are there"
    )
    parser.add_argument("--driver", action="store_true", help="measure the driver's memory instead")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        directory = (args.directory or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if args.driver:
            driver(directory, files=1_000_000, frames_per_video=10)
            return
        show({number: grow(directory, number, args.rounds, args.stages) for number in args.frames})


if __name__ == "__main__":
    main()
