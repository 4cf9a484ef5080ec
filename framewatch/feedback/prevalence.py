"""Estimates the share of suspicious frames in ranked footage from verdicts. Needs no SciPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framewatch.feedback.segments import STATES, Segment, moment_states, segments_by_video
from framewatch.feedback.verdict_log import VerdictLog
from framewatch.tables.results import open_table

_UNSEEN, _SUSPICIOUS, _NOT, _UNSURE, _DISAGREEMENT = range(len(STATES))


@dataclass(frozen=True)
class Sample:
    """Verdicts on frames drawn at random. Those after the first unseen frame do not count: they were chosen.

    Attributes:
        suspicious: frames with the verdict suspicious.
        harmless: frames with the verdict not suspicious.
        unsure: frames on which the reviewers are unsure or disagree.
    """

    suspicious: int
    harmless: int
    unsure: int

    @classmethod
    def of(cls, states: np.ndarray) -> "Sample":
        """Counts frames by their states, indices into `STATES`, in the order of drawing."""
        unseen = states == _UNSEEN
        drawn = states[: int(np.argmax(unseen)) if unseen.any() else len(states)]
        unsure = int(np.isin(drawn, (_UNSURE, _DISAGREEMENT)).sum())
        return cls(int((drawn == _SUSPICIOUS).sum()), int((drawn == _NOT).sum()), unsure)


def audited_prevalence(output: str, counts: Mapping[str, Any]) -> float | None:
    """Estimates the share of suspicious frames in all ranked frames.

    Outside incidents, the share comes from the audit sample; inside, from the lengths of reviewed incidents.

    Args:
        output: the output directory.
        counts: `frames` and `frames_outside_incidents` of the ranking.

    Returns:
        The share, 0 to 1; None if no frame of the audit sample, or no incident though there are some, has a
        sure verdict.
    """
    segments = segments_by_video(VerdictLog(output).verdicts())
    frames, outside = counts["frames"], counts["frames_outside_incidents"]
    if not segments or not frames:
        return None
    columns = ["video", "timestamp_s", "end_s", "audit"]
    drawn = open_table(output, "candidates").to_table(columns=columns, filter=pc.field("audit").is_valid())
    drawn = drawn.sort_by("audit").rename_columns(["video", "start_s", "end_s", "audit"])
    sample = Sample.of(_states(drawn, segments))
    sure = sample.suspicious + sample.harmless
    if not sure:
        return None
    suspicious = outside * sample.suspicious / sure
    if frames > outside:
        incidents = open_table(output, "incidents").to_table(columns=["video", "start_s", "end_s"])
        states = _states(incidents, segments)
        lengths_s = incidents["end_s"].to_numpy() - incidents["start_s"].to_numpy()
        reviewed_s = lengths_s[np.isin(states, (_SUSPICIOUS, _NOT))].sum()
        if not reviewed_s:
            return None
        suspicious += (frames - outside) * lengths_s[states == _SUSPICIOUS].sum() / reviewed_s
    return float(suspicious / frames)


def _states(moments: pa.Table, segments: Mapping[str, Sequence[Segment]]) -> np.ndarray:
    """Returns (moments,) the state of each moment, `[start_s, end_s)` of a `video`."""
    states = np.zeros(len(moments), np.int8)
    videos = np.array(moments["video"].to_pylist(), object)
    starts_s, ends_s = moments["start_s"].to_numpy(), moments["end_s"].to_numpy()
    for video, of_video in segments.items():
        own = np.flatnonzero(videos == video)
        states[own] = moment_states(starts_s[own], ends_s[own], of_video)
    return states
