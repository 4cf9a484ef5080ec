"""What share of a video must be viewed to see 80% of what is suspicious in it? With and without the loop.

Each video with suspicious frames is left out in turn. The classifier learns from the labels of the others,
and the labels of the left-out one play the reviewer, who answers each frame shown. Four strategies: by time,
at random, by static rank, and with the loop. The last two are the same code, `framewatch.feedback.loop`,
without and with verdicts.

    .venv/bin/python benchmarks/review_effort.py                    # the CAVIAR clips and the drawn samples
    .venv/bin/python benchmarks/review_effort.py --output OUT LABELS.csv ...   # features that are there
"""

import argparse
import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from framewatch.feedback.loop import Footage, Loop, LoopSettings, mix

ROOT = Path(__file__).resolve().parent.parent
CAVIAR = ROOT.parent / "shared" / "caviar"
STRATEGIES = ("by time", "at random", "static rank", "with the loop")
# The loop must cost at most this share of what the static ranking costs, on CAVIAR.
BAR = 0.65


@dataclass(frozen=True)
class Frames:
    """Labelled frames in order of video and time."""

    features: np.ndarray
    videos: np.ndarray
    timestamps_s: np.ndarray
    labels: np.ndarray

    def where(self, chosen: np.ndarray) -> "Frames":
        """Some of them."""
        return Frames(*(values[chosen] for values in vars(self).values()))


def read_frames(output: Path, label_files: list[Path]) -> Frames:
    """Features of the frames that the files label, in either format."""
    columns = ["origin", "video", "timestamp_s", "features"]
    rows = ds.dataset(output / "features", partitioning="hive").to_table(columns=columns).to_pylist()
    rows.sort(key=lambda row: (row["video"], row["timestamp_s"]))
    labels = dict(labels_of(rows, label_files))
    rows = [row for row in rows if row["origin"] in labels and row["features"] is not None]
    return Frames(
        features=np.array([row["features"] for row in rows], np.float32),
        videos=np.array([Path(row["video"]).name for row in rows]),
        timestamps_s=np.array([row["timestamp_s"] for row in rows]),
        labels=np.array([labels[row["origin"]] for row in rows]),
    )


def labels_of(rows: list[dict[str, Any]], files: list[Path]) -> Iterator[tuple[str, int]]:
    """Yields the origin and the label of each of these rows that the files label, in either format."""
    for file in files:
        with file.open(newline="") as lines:
            for label in csv.DictReader(lines):
                for row in rows:
                    if "ImageName" in label:
                        fits = row["origin"].endswith("/" + label["ImageName"])
                    else:
                        second = row["timestamp_s"]
                        fits = float(label["start_s"]) <= second < float(label["end_s"])
                        fits = fits and row["video"].endswith("/" + label["video"])
                    if fits:
                        yield row["origin"], int(label["label"])


def share_by_order(order: np.ndarray, labels: np.ndarray, recall: float) -> float:
    """Share of frames viewed, in a fixed order, until enough are seen."""
    wanted = math.ceil(recall * labels.sum() - 1e-9)
    return float(np.searchsorted(np.cumsum(labels[order]), wanted) + 1) / len(labels)


def share_at_random(labels: np.ndarray, recall: float) -> float:
    """Its expectation over all orders: the k-th of p among n comes at k (n + 1) / (p + 1)."""
    wanted = math.ceil(recall * labels.sum() - 1e-9)
    return float(wanted * (len(labels) + 1) / (labels.sum() + 1) / len(labels))


def share_with_loop(left_out: Frames, loop: Loop, settings: LoopSettings, recall: float, seed: int) -> float:
    """The loop, answered by the labels."""
    labels, num = left_out.labels, len(left_out.labels)
    wanted = math.ceil(recall * labels.sum() - 1e-9)
    audit = np.random.default_rng(seed).permutation(num)
    answers = np.full(num, np.nan)
    while np.nansum(answers) < wanted:
        log_odds = loop.refit(answers)
        assert log_odds is not None, "the other videos have both labels"
        num_seen = int(np.sum(~np.isnan(answers)))
        slots = mix(log_odds, np.flatnonzero(np.isnan(answers)), audit, num_seen, settings)
        for slot in slots[: settings.refit_every]:
            answers[slot.index] = labels[slot.index]
            if np.nansum(answers) >= wanted:
                break
    return float(np.mean(~np.isnan(answers)))


def measure(frames: Frames, settings: LoopSettings, recall: float, seeds: int) -> dict[str, list[float]]:
    """Per video with suspicious frames, the share that each strategy views."""
    shares: dict[str, list[float]] = {}
    for video in np.unique(frames.videos[frames.labels == 1]):
        left_out, others = frames.where(frames.videos == video), frames.where(frames.videos != video)
        footage = Footage(left_out.features, np.zeros(len(left_out.labels), int), left_out.timestamps_s)
        loop = Loop(footage, others.features, others.labels, settings)
        static = Loop(footage, others.features, others.labels, replace(settings, smooth_s=0.0))
        log_odds = static.refit(np.full(len(left_out.labels), np.nan))
        assert log_odds is not None
        shares[str(video)] = [
            share_by_order(np.arange(len(left_out.labels)), left_out.labels, recall),
            share_at_random(left_out.labels, recall),
            share_by_order(np.argsort(-log_odds, kind="stable"), left_out.labels, recall),
            float(np.median([share_with_loop(left_out, loop, settings, recall, s) for s in range(seeds)])),
        ]
    return shares


def show(name: str, frames: Frames, shares: dict[str, list[float]], recall: float) -> float:
    """Prints a table, and returns the loop's share of the static ranking's."""
    table = Table(
        title=f"{name}: {len(frames.labels)} frames, {int(frames.labels.sum())} suspicious; share of a "
        f"left-out video's frames viewed to see {recall:.0%} of its suspicious ones"
    )
    table.add_column("video")
    for strategy in STRATEGIES:
        table.add_column(strategy, justify="right")
    for video, its in shares.items():
        table.add_row(video, *(f"{share:.2f}" for share in its))
    means = np.mean(list(shares.values()), axis=0)
    table.add_row("mean", *(f"{share:.2f}" for share in means), end_section=True)
    console = Console(width=110)
    console.print(table)
    above = [video for video, its in shares.items() if its[3] > its[0]]
    console.print(
        f"{name}: loop / static = {means[3] / means[2]:.2f}, loop / by time = {means[3] / means[0]:.2f}; "
        f"above by time in: {', '.join(above) or 'no video'}"
    )
    return float(means[3] / means[2])


def make_features(directory: Path, videos: Path) -> None:
    """Frames and features of every video below a directory, by the real stages."""
    for stage in ("extract", "featurize"):
        command = [sys.executable, "-m", "framewatch.cli", stage, "--config", "conf/local.yaml"]
        command += [f"videos.train={videos}", f"output={directory}", "featurizer.weights=auto"]
        subprocess.run([*command, "featurizer.precision=float32"], cwd=ROOT, check=True)


def sets(directory: Path) -> Iterator[tuple[str, Path, list[Path]]]:
    """Name, output and label files of the CAVIAR clips, where they are, and of the drawn samples."""
    if CAVIAR.is_dir():
        make_features(directory / "caviar", CAVIAR / "videos")
        yield "CAVIAR", directory / "caviar", sorted(CAVIAR.glob("labels_*.csv"))
    samples = directory / "samples"
    subprocess.run([sys.executable, "-m", "framewatch.cli", "samples", str(samples)], cwd=ROOT, check=True)
    make_features(directory / "drawn", samples)
    yield "drawn samples", directory / "drawn", sorted(samples.glob("labels_*.csv"))


def main() -> int:
    """Measures, prints, and fails where the bar on CAVIAR is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", type=Path, help="label files, with --output")
    parser.add_argument("--output", type=Path, help="a run's directory with features")
    parser.add_argument("--recall", type=float, default=0.8)
    parser.add_argument("--seeds", type=int, default=5, help="orders of the random share; the median counts")
    args = parser.parse_args()
    ratios = {}
    with tempfile.TemporaryDirectory() as directory:
        given = [("given", args.output, args.labels)] if args.output else sets(Path(directory))
        for name, output, label_files in given:
            frames = read_frames(output, label_files)
            shares = measure(frames, LoopSettings(), args.recall, args.seeds)
            ratios[name] = show(name, frames, shares, args.recall)
    if ratios.get("CAVIAR", 0.0) > BAR:
        print(f"missed: the loop costs {ratios['CAVIAR']:.2f} of the static ranking on CAVIAR, above {BAR}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
