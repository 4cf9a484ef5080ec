"""The review page on 100,000 incidents: how long the first page takes, and how much memory.

Writes tables of noise as `framewatch rank` leaves them, serves them by `framewatch review` in a process of
its own, and asks as the page does. It fails where the first page takes above 0.3 s or the process above
500 MB.

    .venv/bin/python benchmarks/review_scale.py [--incidents 100000]
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from outputs import served, write_output  # noqa: E402
from page_client import Client  # noqa: E402

FRAMES_A_VIDEO, FEATURES, LABELS, CANDIDATES = 400, 2048, 2000, 5000
MOST_S, MOST_MB = 0.3, 500


def write(output: Path, num: int) -> None:
    """An incident every fourth second of each video, and 2,000 labelled frames."""
    rng = np.random.default_rng(0)
    prob2 = rng.random((num * 4 // FRAMES_A_VIDEO, FRAMES_A_VIDEO)) * 0.5
    prob2[:, 1::4] += 0.5
    videos = [f"file:/cameras/{number % 50}/Video{number:05d}.mp4" for number in range(len(prob2))]
    places = np.argwhere(prob2 > 0.5)
    places = places[np.argsort(-prob2[tuple(places.T)])]
    incidents = [(int(v), int(s), int(s) + 1, int(s)) for v, s in places]
    features = rng.standard_normal((LABELS, FEATURES), np.float32)
    labelled = {
        "video": ["file:/elsewhere.mp4"] * LABELS,
        "timestamp_s": np.arange(float(LABELS)),
        "label": (np.arange(LABELS) % 8 == 0).astype(float),
        "features": pa.array(list(features)),
    }
    write_output(output, videos, prob2, FEATURES, incidents=incidents, labelled=labelled, most=CANDIDATES)


def ask(client: Client, path: str, body: dict[str, Any] | None = None) -> tuple[float, Any]:
    """Seconds that a request took, and its answer."""
    started = time.perf_counter()
    answer = client.get(path) if body is None else client.post(path, body)[1]
    return time.perf_counter() - started, answer


def memory_mb(process: subprocess.Popen) -> float:
    """The most that a process has had in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]


def measure(output: Path, home: Path, repeats: int) -> tuple[float, float]:
    """Prints what each request takes, and returns the first page's seconds and the memory in MB."""
    started = time.perf_counter()
    with served(output, home=home) as (address, process):
        print(f"start: {time.perf_counter() - started:.1f} s")
        client = Client(address)
        first, _ = ask(client, "api/queue")
        status = client.get("api/status")
        print(f"queue, the very first: {first:.3f} s, of {sum(status['counts'].values())} moments")
        for name, query in (
            ("first page", ""), ("by rank", "order=rank"), ("far down", "order=rank&offset=90000"),
            ("one camera", "video=cameras/7/&order=time"), ("probability", "min_prob=0.6&max_prob=0.7"),
        ):  # fmt: skip
            taken = [ask(client, f"api/queue?{query}")[0] for _ in range(repeats)]
            print(f"queue, {name}: {statistics.median(taken):.3f} s (at most {max(taken):.3f} s)")
            first = max(first, statistics.median(taken)) if not query else first
        taken = []
        for moment in range(40):
            body = {"moment": moment, "answer": ["not", "suspicious"][moment % 2], "reviewer": "ann"}
            taken.append(ask(client, "api/verdicts", {**body, "ranking": status["ranking"]})[0])
        print(f"verdict: {statistics.median(taken):.3f} s (at most {max(taken):.3f} s)")
        started = time.perf_counter()
        while client.get("api/status")["learned"] < 40:
            time.sleep(0.01)
        print(f"refit, after the last verdict: {time.perf_counter() - started:.2f} s at most")
        print(f"memory: {memory_mb(process):.0f} MB at most")
        return first, memory_mb(process)


def main() -> int:
    """Writes, measures, and fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--incidents", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory) / "out", args.incidents)
        first_s, most_mb = measure(Path(directory) / "out", Path(directory) / "home", args.repeats)
    print(f"first page {first_s:.3f} s (bar {MOST_S} s), memory {most_mb:.0f} MB (bar {MOST_MB} MB)")
    return int(first_s > MOST_S or most_mb > MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
