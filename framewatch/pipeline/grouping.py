"""Finds the groups of labelled videos, which evaluation never splits."""

from collections.abc import Mapping

from framewatch.pipeline.run import Run
from framewatch.ranking import groups, labels
from framewatch.video.name_clock import start_of


def group_videos(
    run: Run, of_labels: Mapping[str, str | None], *, of_training: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Returns the group of each video.

    Args:
        run: the current call.
        of_labels: the videos, each with the group that its labels give, or None.
        of_training: groups that videos had when the classifier was trained, which count least.

    Raises:
        InputError: the file `labels.groups` is not valid, a video is in two groups, or labels and file
            disagree.
    """
    in_labels = {video: group for video, group in of_labels.items() if group is not None}
    given = {**(of_training or {}), **groups.agreed(in_labels, _of_file(run), str(run.config.labels.groups))}
    return groups.complete(of_labels, given, _durations_s(run, of_labels))


def _of_file(run: Run) -> dict[str, str]:
    """Returns the group of each video that the file `labels.groups` names; prints a summary."""
    path = run.config.labels.groups
    if not path:
        return {}
    videos = [(video,) for video in run.tables.latest()["video"].to_pylist()]
    found, summary = labels.match_groups(
        run.spark.createDataFrame(videos, "video string"), labels.read_groups(run.spark, path)
    )
    run.summarize("groups", summary)
    return found


def _durations_s(run: Run, videos: Mapping[str, object]) -> dict[str, float]:
    """Returns the durations, from the ledger, of the videos whose names have a clock."""
    clocked = [video for video in videos if start_of(video) is not None]
    if len(clocked) < 2:
        return {}
    ledger = run.tables.ledger()
    rows = ledger.where(ledger["video"].isin(clocked)).select("video", "duration_s").collect()
    return {row["video"]: row["duration_s"] or 0.0 for row in rows}
