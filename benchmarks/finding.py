"""How well suspicious moments are found: stills, what changes, what moves, and all of it.

Reads videos in one pass with bursts: the surveillance clips of ../shared/fights and the clips of
../shared/caviar, where present, and the drawn samples. Tests classifiers on groups that they were not trained
on, five folds, several times with other folds:

    python benchmarks/finding.py [--only fights caviar samples] [--models EfficientNetLite2 InceptionV3]

For each choice of blocks it prints ROC AUC, average precision and accuracy with 95% intervals over groups,
and the share of a left-out group's frames that a reviewer views for 80% of its suspicious ones, with the
learning loop. The labels of `fights` hold for whole clips: there a clip is one thing to rank, with the mean
of its frames' log-odds. Nothing is chosen on the frames that the numbers are about: `auto` chooses within
each training part.

It also prints the CPU seconds of a minute of 720p video, decoding included, of each model: stills and bursts.
"""

import argparse
import csv
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from extract import footage
from peers import make
from processes import usage
from review_effort import Frames, labels_of, measure

from framewatch.config import ClassifierConfig
from framewatch.feedback.loop import LoopSettings
from framewatch.ranking import classifier
from framewatch.ranking.blocks import COLUMNS, Blocks
from framewatch.ranking.calibration import log_odds_of
from framewatch.ranking.context_training import ContextTraining
from framewatch.ranking.evaluation import RankedLabels
from framewatch.ranking.intervals import RankedGroups
from framewatch.ranking.logistic import Logistic
from framewatch.ranking.stacking import Labelled, fit_stacked

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
PROGRAM = [sys.executable, "-m", "framewatch.cli"]
BURST = ["sampling.burst=5", "sampling.burst_step_s=0.2"]
WEIGHTS = {"EfficientNetLite2": "imagenet", "EfficientNetLite0": "imagenet"}
CHOICES: dict[str, tuple[str, ...]] = {
    "still": ("still",),
    "still, less its camera": ("still",),
    "still, context": ("still",),
    "change": ("change",),
    "motion": ("motion",),
    "change, motion": ("change", "motion"),
    "still, change, motion": tuple(COLUMNS),
    "auto": tuple(COLUMNS),
}
FOLDS, RECALL = 5, 0.8


@dataclass(frozen=True)
class Footage:
    """Labelled videos.

    Attributes:
        name: what the table calls them.
        videos: a file or a directory.
        labels: label files.
        groups: a file of groups; None where each video is one.
        by_clip: whether the labels hold for whole clips.
    """

    name: str
    videos: Path
    labels: list[Path]
    groups: Path | None = None
    by_clip: bool = False


def kinds(directory: Path, wanted: Sequence[str]) -> Iterator[Footage]:
    """Yields the wanted footage that is present."""
    fights, caviar, samples = SHARED / "fights", SHARED / "caviar", directory / "samples"
    if "fights" in wanted and fights.is_dir():
        yield Footage("fights", fights / "videos", [fights / "labels.csv"], fights / "groups.csv", True)
    if "caviar" in wanted and caviar.is_dir():
        yield Footage("caviar", caviar / "videos", sorted(caviar.glob("labels_*.csv")))
    for missing in (path for path in (fights, caviar) if path.name in wanted and not path.is_dir()):
        print(f"{missing.name}: left out, as {missing} does not exist")
    if "samples" in wanted:
        if not samples.is_dir():
            subprocess.run([*PROGRAM, "samples", str(samples)], check=True, capture_output=True)
        yield Footage("samples", samples, sorted(samples.glob("labels_*.csv")))


def ingest(videos: Path, output: Path, model: str, *settings: str) -> float:
    """Reads videos, unless that is done; returns the CPU seconds of all processes."""
    command = ["ingest", f"videos.train={videos}", f"output={output}", f"featurizer.model={model}"]
    command += [f"featurizer.weights={WEIGHTS.get(model, 'auto')}", "catalog.enabled=false", *settings]
    with usage() as used:
        done = subprocess.run([*PROGRAM, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return used.cpu_s


def read(footage: Footage, output: Path) -> tuple[Labelled, np.ndarray, np.ndarray]:
    """Returns labelled frames with all blocks, and the video and the second of each, sorted by both."""
    columns = ["origin", "video", "timestamp_s", *COLUMNS.values()]
    table = ds.dataset(output / "features", partitioning="hive").to_table(columns=columns)
    table = table.sort_by([("video", "ascending"), ("timestamp_s", "ascending")])
    rows = table.select(columns[:3]).to_pylist()
    label_of = dict(labels_of(rows, footage.labels))
    usable = [row["origin"] in label_of for row in rows]
    table = table.filter(pc.and_(pa.array(usable), table["features"].is_valid()))
    rows = table.select(columns[:3]).to_pylist()
    blocks = Blocks.of_rows(table, tuple(COLUMNS))
    videos = np.array([Path(row["video"]).name for row in rows])
    groups = videos
    if footage.groups:
        with footage.groups.open(newline="") as lines:
            group_of = {row["video"]: row["group"] for row in csv.DictReader(lines)}
        groups = np.array([group_of[video] for video in videos])
    labels = np.array([float(label_of[row["origin"]]) for row in rows])
    labelled = Labelled(blocks.matrix(table), labels, np.ones(len(rows)), groups, blocks.columns)
    return labelled, videos, np.array([row["timestamp_s"] for row in rows])


def less_camera(labelled: Labelled, videos: np.ndarray, times_s: np.ndarray) -> Labelled:
    """Takes the median of the video's frames within 15 s off the stills."""
    features, columns = labelled.features.copy(), labelled.blocks["still"]
    stills = labelled.features[:, columns]
    for place, (video, time) in enumerate(zip(videos, times_s, strict=True)):
        near = (videos == video) & (np.abs(times_s - time) <= 15)
        features[place, columns] -= np.median(stills[near], axis=0)
    return Labelled(features, labelled.labels, labelled.weights, labelled.groups, labelled.blocks)


def left_out(
    labelled: Labelled,
    blocks: Sequence[str],
    videos: np.ndarray,
    times_s: np.ndarray,
    name: str,
    seed: int,
) -> np.ndarray:
    """Returns (frames,) log-odds by classifiers that were trained without the frame's group."""
    settings = ClassifierConfig()
    names = ("max_iter", "reg_param", "elastic_net_param", "standardization", "class_weights")
    fit_stills: Any = functools.partial(
        classifier.fit_in_memory, **{name: getattr(settings, name) for name in names}
    )
    if name == "still, less its camera":
        labelled = less_camera(labelled, videos, times_s)
    columns = {block: labelled.blocks[block] for block in blocks}

    def fit(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Logistic:
        frames = Labelled(features, labels, weights, labelled.groups, columns)
        return fit_stacked(frames, fit_stills=fit_stills, folds=FOLDS, choose=name == "auto").logistic

    training = ContextTraining(fit, labelled.groups, videos, times_s, FOLDS, choose=name == "auto")
    names_of_groups = np.unique(labelled.groups)
    order = np.random.default_rng(seed).permutation(len(names_of_groups))
    fold = (order % FOLDS)[np.searchsorted(names_of_groups, labelled.groups)]
    log_odds = np.empty(len(labelled.labels))
    for number in np.unique(fold):
        held_out, features, labels = fold == number, labelled.features, labelled.labels
        weights = np.where(held_out, 0.0, labelled.weights)
        if "context" in name or name == "auto":
            probabilities = training.left_out(held_out, features, labels, weights)
        else:
            probabilities = fit(features, labels, weights).probabilities(features[held_out])
        log_odds[held_out] = log_odds_of(probabilities)
    return log_odds


@dataclass(frozen=True)
class Things:
    """What is ranked, frames or clips: the label and the group of each, and the frames that are in it."""

    labels: np.ndarray
    groups: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, labelled: Labelled, videos: np.ndarray, *, by_clip: bool) -> "Things":
        """Clips, or frames."""
        if not by_clip:
            return cls(labelled.labels, labelled.groups, np.arange(len(videos)))
        _, first, number = np.unique(videos, return_index=True, return_inverse=True)
        return cls(labelled.labels[first], labelled.groups[first], number)

    def scores(self, log_odds: np.ndarray) -> np.ndarray:
        """The mean over the frames of each."""
        return np.bincount(self.number, log_odds) / np.bincount(self.number)

    def metrics(self, scores: np.ndarray) -> tuple[float, float, float]:
        """ROC AUC, average precision, accuracy."""
        ranked = RankedLabels.count(scores.tolist(), self.labels.tolist())
        accuracy = float(np.mean((scores > 0) == (self.labels > 0)))
        return ranked.roc_auc or 0.0, ranked.average_precision or 0.0, accuracy

    def intervals(self, scores: np.ndarray) -> list[tuple[float, float]]:
        """95% intervals of the three, by drawing groups with replacement."""
        order = np.argsort(-scores, kind="stable")
        firsts = self.labels[order] > 0
        ranked = RankedGroups(scores[order], self.labels[order], self.groups[order], firsts)
        found = ranked.intervals(precision_at=[], viewed=[])
        right, random = (scores > 0) == (self.labels > 0), np.random.default_rng(0)
        members = [np.flatnonzero(self.groups == group) for group in np.unique(self.groups)]
        drawn = [
            right[np.concatenate([members[n] for n in random.integers(len(members), size=len(members))])]
            for _ in range(1000)
        ]
        accuracy = np.percentile([one.mean() for one in drawn], (2.5, 97.5))
        assert found and found.roc_auc and found.average_precision
        return [found.roc_auc, found.average_precision, (float(accuracy[0]), float(accuracy[1]))]


def share_viewed(labelled: Labelled, blocks: Sequence[str], times_s: np.ndarray) -> float:
    """The mean share of a left-out group's frames that is viewed for the recall, with the loop."""
    features = np.hstack([labelled.features[:, labelled.blocks[block]] for block in blocks])
    frames = Frames(features.astype(np.float32), labelled.groups, times_s, labelled.labels.astype(int))
    shares = measure(frames, LoopSettings(), RECALL, seeds=1)
    return float(np.mean([share[-1] for share in shares.values()]))


def evaluate(footage: Footage, model: str, output: Path, repeats: int) -> None:
    """Prints the table of one kind of footage and one model."""
    labelled, videos, times_s = read(footage, output)
    times_s = times_s + 1e5 * np.unique(videos, return_inverse=True)[1]  # no clip of a group is near another
    things = Things.of(labelled, videos, by_clip=footage.by_clip)
    what = "clips" if footage.by_clip else "frames"
    print(
        f"\n{footage.name}, {model}: {len(things.labels)} {what}, {int(things.labels.sum())} suspicious, "
        f"{len(np.unique(things.groups))} groups\n"
    )
    print("| features | ROC AUC | AP | accuracy | viewed for 80% |\n| --- | --- | --- | --- | ---: |")
    for name, blocks in CHOICES.items():
        scores = [
            things.scores(left_out(labelled, blocks, videos, times_s, name, seed)) for seed in range(repeats)
        ]
        means = np.mean([things.metrics(score) for score in scores], axis=0)
        intervals = things.intervals(np.mean(scores, axis=0))
        cells = [
            f"{mean:.2f} ({low:.2f} to {high:.2f})"
            for mean, (low, high) in zip(means, intervals, strict=True)
        ]
        has_loop = name == ", ".join(blocks)  # the page learns from blocks
        viewed = f"{share_viewed(labelled, blocks, times_s):.2f}" if has_loop else ""
        print(f"| {name} | {' | '.join(cells)} | {viewed} |", flush=True)


def cost(directory: Path, models: Sequence[str]) -> None:
    """Prints the CPU seconds of a minute of video: a run that reads it, less one that finds nothing new."""
    place = directory / "cost"
    place.mkdir(exist_ok=True)
    videos = place / "videos"
    if not videos.is_dir():
        make(place, footage(place), files=2, seconds=120)
    print("\n| CPU seconds a minute of 720p video | stills | bursts of 5 |\n| --- | ---: | ---: |")
    for model in models:
        cells = []
        for name, settings in (("stills", []), ("bursts", BURST)):
            output = place / f"{model}-{name}"
            whole, again = (ingest(videos, output, model, *settings) for _ in range(2))
            cells.append(f"{(whole - again) / 4:.2f}")
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["fights", "caviar", "samples"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--models", nargs="+", default=["EfficientNetLite2", "InceptionV3"])
    parser.add_argument("--repeats", type=int, default=5, help="with other folds (default: %(default)s)")
    parser.add_argument(
        "--directory", type=Path, help="keep the outputs there, and take those that are there"
    )
    parser.add_argument("--no-cost", action="store_true", help="leave out the CPU seconds")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (args.directory or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        for footage_ in kinds(directory, args.only):
            for model in args.models:
                output = directory / f"{footage_.name}-{model}"
                ingest(footage_.videos, output, model, *BURST)
                evaluate(footage_, model, output, args.repeats)
        if not args.no_cost:
            cost(directory, args.models)


if __name__ == "__main__":
    main()
