"""Where the seconds of small work go: each verb on the demo, beside a bare Spark session with its first job.

Runs the demo's verbs as a user does, one process each, and reads Spark's event log. It prints, for each verb,
medians of: seconds in all, until Spark has started, until the first job, in jobs, between jobs (planning and
Python), and after the last job; the number of jobs; and CPU seconds of all processes. Bare sessions come
between the verbs, so that both sides see the same machine.

    .venv/bin/python benchmarks/startup.py [--rounds 3] [--directory DIR]

`--directory` keeps the output, and so its classifier and its features; without, all is made anew.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from processes import usage

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "framewatch.cli"]
BARE = "from pyspark.sql import SparkSession as S; s = S.builder.getOrCreate(); s.range(9).count()"
COLUMNS = ("seconds", "to_spark", "to_job", "in_jobs", "between", "after", "jobs", "cpu")


def measured(command: Sequence[str], events: Path | None = None) -> dict[str, float]:
    """Runs a command; returns its measures, by the names of COLUMNS."""
    started = time.time()
    with usage() as used:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = {"seconds": time.time() - started}
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found["cpu"] = used.cpu_s
    return found | (_phases(events, started, found["seconds"]) if events else {})


def _phases(events: Path, started: float, seconds: float) -> dict[str, float]:
    """Reads the event log of a command that has ended."""
    log = [json.loads(line) for file in events.rglob("*") if file.is_file() for line in _lines(file)]
    began = min(event["Timestamp"] for event in log if event["Event"] == "SparkListenerApplicationStart")
    starts = {e["Job ID"]: e["Submission Time"] for e in log if e["Event"] == "SparkListenerJobStart"}
    ends = {e["Job ID"]: e["Completion Time"] for e in log if e["Event"] == "SparkListenerJobEnd"}
    busy, until = 0.0, 0.0
    for job, start in sorted(starts.items(), key=lambda item: item[1]):
        busy += max(0.0, ends[job] - max(start, until))
        until = max(until, ends[job])
    first = min(starts.values(), default=began)
    to_spark, to_job = began / 1000 - started, (first - began) / 1000
    after = seconds - (max(until, began) / 1000 - started)
    return {
        "to_spark": to_spark,
        "to_job": to_job,
        "in_jobs": busy / 1000,
        "between": seconds - to_spark - to_job - busy / 1000 - after,
        "after": after,
        "jobs": len(starts),
    }


def _lines(file: Path) -> Iterable[str]:
    return (line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("{"))


def verbs(directory: Path) -> dict[str, list[str]]:
    """The verbs to measure, in an order in which each finds what it needs."""
    samples, output = directory / "samples", directory / "demo"
    settings = [
        f"--config={ROOT / 'conf' / 'demo.yaml'}",
        *(f"videos.{part}={samples / part}" for part in ("train", "test")),
        *(f"labels.{part}={samples}/labels_{part}.csv" for part in ("train", "test")),
        f"output={output}",
    ]
    frames = sorted((samples / "train").glob("Fight*"))[:2]
    classes = {
        "classes": [
            {"name": "fight", "prompts": [{"example": f"{video.stem}frame0008.jpg"} for video in frames]}
        ]
    }
    request = directory / "classes.json"
    request.write_text(json.dumps(classes), encoding="utf-8")
    new = directory / "new"
    new.mkdir(exist_ok=True)
    shutil.copy(sorted((samples / "test").iterdir())[0], new)
    of_new = [f"--config={ROOT / 'conf' / 'demo.yaml'}", f"videos.test={new}", "ranking.show=0"]
    return {
        "run, all new": ["run", *settings],
        "ingest, nothing new": ["ingest", *settings],
        "train": ["train", *settings],
        "rank": ["rank", *settings],
        "classify": ["classify", f"--classes={request}", settings[0], str(output)],
        "explore": ["explore", settings[0], str(output)],
        "run of one new clip": [
            "run", *of_new, f"classifier.path={output}/model", f"output={directory}/new_out",
            "labels.train=null", "labels.test=null", "videos.train=[]",
        ],
    }  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path)
    parser.add_argument(
        "--only", nargs="*", help="names of verbs, such as rank; `run, all new` makes what they need"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (given.directory or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "samples").exists():
            measured([*PROGRAM, "samples", str(directory / "samples")])
        commands = {
            name: command
            for name, command in verbs(directory).items()
            if given.only is None or name in given.only
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ("bare session", *commands)}
        for _ in range(given.rounds):
            for name, command in commands.items():
                found["bare session"].append(measured([sys.executable, "-c", BARE]))
                found[name].append(one(name, command, directory))
        show(found)


def one(name: str, command: list[str], directory: Path) -> dict[str, float]:
    """Measures a verb once."""
    if name == "run, all new":
        shutil.rmtree(directory / "demo", ignore_errors=True)
    shutil.rmtree(directory / "new_out", ignore_errors=True)
    events = directory / "events"
    shutil.rmtree(events, ignore_errors=True)
    events.mkdir()
    conf = {"enabled": "true", "compress": "false", "dir": str(events)}
    logged = [f"spark.conf.spark.eventLog.{key}={value}" for key, value in conf.items()]
    return measured([*PROGRAM, *command, *logged], events)


def show(found: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Prints medians, and each verb's ratio to the bare session."""
    medians = {
        name: {column: statistics.median(row.get(column, 0.0) for row in rows) for column in COLUMNS}
        for name, rows in found.items()
    }
    bare = medians["bare session"]["seconds"]
    print("| | " + " | ".join(COLUMNS) + " | ratio |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    for name, row in medians.items():
        print(
            f"| {name} | "
            + " | ".join(f"{row[c]:.1f}" for c in COLUMNS)
            + f" | {row['seconds'] / bare:.2f} |"
        )


if __name__ == "__main__":
    main()
