"""Classifies videos by prompts: `features` -> `classifications` and `class_clips`, and single questions."""

import functools
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.config import Config
from framewatch.pipeline.run import Run
from framewatch.pipeline.search import encoder_of
from framewatch.pipeline.sql import register_for_sql
from framewatch.pipeline.train import verdict_ranges
from framewatch.prompts import classifications, prepare
from framewatch.prompts.class_clips import ClassClip
from framewatch.prompts.class_finder import Find, joined
from framewatch.prompts.classification import (
    class_clips_of,
    classifications_of,
    compare,
    find_classes,
    summarize,
)
from framewatch.prompts.frame_runs import Background, run_arrays
from framewatch.prompts.request import PromptClass, Request
from framewatch.prompts.response import Given, PromptClip, VideoClasses
from framewatch.prompts.scoring import Calibration, ScoringPlan, calibrate
from framewatch.ranking import labels
from framewatch.spark.task_progress import task_progress
from framewatch.tables import catalog
from framewatch.tables.feature_files import FeatureFiles, camera
from framewatch.tables.results import open_table

# In place of a file of labels, selects the reviewers' verdicts.
_VERDICTS = "verdicts"


def classify(run: Run, request: Request, *, source: dict[str, Any]) -> None:
    """Writes `classifications` and `class_clips` for all videos with features.

    Args:
        run: the current call.
        request: the classes to look for, with their prompts.
        source: the request as parsed JSON, which is saved with the results.

    Raises:
        InputError: no features, or a prompt that cannot be used.
    """
    started = time.monotonic()
    tables, settings = run.tables, run.config.classes
    with task_progress(run.spark, "classify"):
        search = _Search.begin(run, request)
        found = tables.stage(search.find(), "found")
        classifications.delete_about(tables.output)  # marks the tables as incomplete until all are written
        given = classifications_of(found, min_duration_ratio=settings.min_duration_ratio)
        tables.replace(given.coalesce(1), "classifications")
        tables.replace(class_clips_of(found).coalesce(1), "class_clips")
    counts = {
        "classes": len(request.classes),
        "prompts": request.num_prompts,
        "frames": search.runs.agg(F.sum("num_frames")).collect()[0][0],
        "videos_with_a_class": len(classifications.read_classified_videos(tables.output)),
        "clips": open_table(tables.output, "class_clips").count_rows(),
    }
    tables.delete_staged("found", "runs")
    about = {
        "request": source,
        "min_duration_ratio": settings.min_duration_ratio,
        "gap_s": settings.gap_s,
        "period_s": run.period_s,
        "features": FeatureFiles.of(tables.output).identity(),
        "thresholds": {name: calibration.threshold for name, calibration in search.calibrations.items()},
        "classified_at": datetime.now(UTC).isoformat(),
        **counts,
    }
    classifications.write_about(tables.output, about)
    registered = register_for_sql(run)
    catalog.write_duckdb(tables)
    seconds = time.monotonic() - started
    run.note(
        "classify",
        f"{counts['prompts']} prompts of {counts['classes']} classes over {counts['frames']} frames: "
        f"{counts['clips']} clips, {counts['videos_with_a_class']} videos with a class, in {seconds:.1f} s",
        **counts,
        registered=registered,
        seconds=round(seconds, 1),
    )


def ask(run: Run, request: Request, *, video: str | None = None) -> list[VideoClasses]:
    """Returns the videos that match a request, with their clips. Writes no table.

    Args:
        run: the current call.
        request: the classes to look for, with their prompts.
        video: URI of the only video to search; None searches all videos.

    Returns:
        The matching videos, highest score first.

    Raises:
        InputError: no features, a prompt that cannot be used, or no such video.
    """
    with task_progress(run.spark, "ask"):
        found = _Search.begin(run, request, video=video).find()
        rows = found.collect()
    run.tables.delete_staged("runs")
    given: dict[str, list[Given]] = {}
    for row in rows:
        clips = tuple(
            PromptClip(clip["prompt"], ClassClip(clip["start_s"], clip["end_s"], clip["score"]))
            for clip in row["clips"]
        )
        match = Given(row["class"], row["score"], row["duration_ratio"], clips, row["calibrated"])
        given.setdefault(row["video"], []).append(match)
    return classifications.in_order(given)


def check_request(config: Config, request: Request, *, sees_all: bool) -> None:
    """Checks a request as far as possible without a Spark session and without loading a network.

    Args:
        config: the configuration.
        request: the classes to look for, with their prompts.
        sees_all: whether this process sees the same files as Spark; see `labels.check_labels`.

    Raises:
        InputError: no features, or a prompt or labels that cannot be used.
    """
    prepare.check(request, *encoder_of(config))
    for file in dict.fromkeys(wanted.labels for wanted in request.classes if wanted.labels is not None):
        if file == _VERDICTS:
            _verdict_ranges(config.output)
        else:
            labels.check_labels(file, sees_all=sees_all)


@dataclass(frozen=True)
class _Search:
    """A request whose similarities to the features are computed and staged, before clips are found."""

    run: Run
    plan: ScoringPlan
    runs: DataFrame
    backgrounds: Mapping[str, Background]
    calibrations: Mapping[str, Calibration]

    @staticmethod
    def begin(run: Run, request: Request, *, video: str | None = None) -> "_Search":
        features, encoder = encoder_of(run.config)
        plan = prepare.prepare(request, features, encoder)
        runs = run.tables.stage(compare(run.spark, features, plan), "runs")
        backgrounds = summarize(runs, plan)
        calibrations = _calibrations(run, plan, runs, backgrounds)
        if video is not None:
            runs = runs.where(F.col("video") == video)
        return _Search(run, plan, runs, backgrounds, calibrations)

    def find(self) -> DataFrame:
        wanted = Find(
            self.plan,
            self.backgrounds,
            self.calibrations,
            gap_s=self.run.config.classes.gap_s,
            period_s=self.run.period_s,
        )
        return find_classes(self.runs, self.run.tables.ledger(), wanted)


def _calibrations(
    run: Run, plan: ScoringPlan, runs: DataFrame, backgrounds: Mapping[str, Background]
) -> dict[str, Calibration]:
    """Returns the calibrations by class name, of the classes that have positive and negative labels."""
    found = {}
    of_file: dict[str, list[tuple[str, float, float]]] = {}
    for columns in plan.classes:
        file = columns.wanted.labels
        if file is None:
            continue
        if file not in of_file:
            of_file[file] = _labelled_frames(run, file)
        name, labelled = columns.wanted.name, of_file[file]
        # A frame resembles an example of its own video more than the class in another one.
        own = _videos_of_examples(run, columns.wanted)
        others = [row for row in labelled if row[0] not in own]
        calibration = calibrate(*_labelled_odds(plan, columns, runs, backgrounds, others))
        if calibration is None and own:
            calibration = calibrate(*_labelled_odds(plan, columns, runs, backgrounds, labelled))
            if calibration is not None:
                run.note(
                    "classify",
                    f"class '{name}' is calibrated on the videos of its own examples, where it scores better "
                    f"than elsewhere: label other videos in {file}",
                )
        if calibration is None:
            run.note("classify", f"class '{name}' stays uncalibrated: {file} has not both labels")
        else:
            found[name] = calibration
    return found


def _videos_of_examples(run: Run, wanted: PromptClass) -> set[str]:
    """Returns the URIs of the videos that a class's examples are frames of."""
    names = [prompt.value for prompt in wanted.prompts if prompt.kind == "example"]
    if not names:
        return set()
    origin = F.col("origin")
    matches = [(origin == name) | origin.endswith("/" + name.lstrip("/")) for name in names]
    frames = run.tables.current("features").where(functools.reduce(operator.or_, matches))
    return {row["video"] for row in frames.select("video").distinct().collect()}


def _labelled_frames(run: Run, file: str) -> list[tuple[str, float, float]]:
    """Returns (video, timestamp_s, label) of each frame labelled by a file or by verdicts."""
    usable = F.col("features").isNotNull().alias("usable")
    frames = run.tables.current("features").select("origin", "video", "timestamp_s", usable)
    if file == _VERDICTS:
        ranges, note = _verdict_ranges(run.config.output)
        if note:
            run.note("classify", f"verdicts {note}")
        read = labels.from_ranges(ranges, f"the verdicts of {run.config.output}")
    else:
        read = labels.read_labels(run.spark, file)
    labelled, _ = labels.join_labels(frames, read, period_s=run.period_s)
    return [
        (row["video"], row["timestamp_s"], row["label"])
        for row in labelled.where("usable").select("video", "timestamp_s", "label").collect()
    ]


def _verdict_ranges(output: str) -> tuple[list[tuple[str, float, float, int]], str]:
    return verdict_ranges(output, otherwise="give a CSV file of labels")


def _labelled_odds(
    plan: ScoringPlan,
    its: Any,
    runs: DataFrame,
    backgrounds: Mapping[str, Background],
    labelled: Sequence[tuple[str, float, float]],
) -> tuple[list[float], list[float]]:
    """Returns a class's log-odds of the labelled frames, and the labels of these frames."""
    label_at = {(video, time_s): label for video, time_s, label in labelled}
    videos = sorted({video for video, _, _ in labelled})
    odds: list[float] = []
    truth: list[float] = []
    for row in runs.where(F.col("video").isin(videos)).collect():
        video = joined(row["video"], [run_arrays(row["times_s"], row["similarities"])], None)
        values = plan.log_odds(video.similarities, backgrounds.get(camera(video.uri)), its)
        for time_s, value in zip(video.times_s.tolist(), values.tolist(), strict=True):
            if (video.uri, time_s) in label_at:
                odds.append(value)
                truth.append(label_at[video.uri, time_s])
    return odds, truth
