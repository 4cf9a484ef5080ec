"""The desk: the moments of one output, their verdicts, and the review queue."""

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framewatch.feedback import (
    STATES,
    Segment,
    Verdict,
    VerdictLog,
    moment_states,
    segments_by_video,
)
from framewatch.feedback.audit import Missed, estimate_missed
from framewatch.feedback.loop import MOST_LABELLED, REASONS, Loop, LoopSettings, mix
from framewatch.feedback.moments import read_moments
from framewatch.feedback.prevalence import Sample
from framewatch.tables.results import Results, read_vectors

_UNSEEN, _SUSPICIOUS = (STATES.index(state) for state in ("unseen", "suspicious"))
# The label of each state that the classifier learns from.
_LABELS = {"suspicious": 1.0, "not": 0.0}


@dataclass(frozen=True)
class Queue:
    """An order of all moments without a verdict.

    Attributes:
        version: increases with each new order.
        moments: indices of the moments, in order.
        reasons: (n,) index into `REASONS` for each of all moments: why it is at its position.
        log_odds: (n,) log-odds of each of all moments, from the classifier of this order.
        num_verdicts: number of verdicts that the classifier was trained on.
    """

    version: int
    moments: np.ndarray
    reasons: np.ndarray
    log_odds: np.ndarray
    num_verdicts: int


class Desk:
    """Holds the moments of one output for any number of reviewers. Thread-safe."""

    def __init__(self, output: str, settings: LoopSettings) -> None:
        """Reads tables and verdicts, and ranks the unseen moments.

        Raises:
            InputError: frames have not been ranked in `output`.
        """
        self.results = Results(output)
        self.log = VerdictLog(output)
        self.moments, self._footage = read_moments(self.results)
        self.settings = settings
        self._number_of = {name: number for number, name in enumerate(self.moments.names)}
        self._loop = self._make_loop()
        self._lock = threading.RLock()
        self._learning = threading.Lock()
        self.segments: dict[str, list[Segment]] = {}
        self.states = np.zeros(len(self.moments), np.int8)
        static = np.clip(self.moments.prob2, 1e-12, 1 - 1e-12)
        # Breaks ties by rank where probabilities round to the same number.
        self._static = np.log(static / (1 - static)) - 1e-9 * np.arange(len(self.moments))
        self.ranking_id = _id(self.results.ranking)
        self._apply_verdicts()
        self.queue = Queue(0, np.zeros(0, int), np.zeros(0, np.int8), self._static, 0)
        self.learn()

    def _make_loop(self) -> Loop:
        labelled = self.results.labelled()
        if labelled is not None:
            rows = labelled.to_table(columns=["origin", "label"])
            drawn = np.random.default_rng(0).permutation(len(rows))[:MOST_LABELLED]
            rows = rows.take(pa.array(drawn))
            features = read_vectors(labelled, rows["origin"].to_pylist())
            usable = np.isfinite(features).all(axis=1)
            if features.shape[1] == self._footage.features.shape[1]:
                labels = rows["label"].to_numpy()[usable]
                return Loop(self._footage, features[usable], labels, self.settings)
        none = np.zeros((0, self._footage.features.shape[1]), np.float32)
        return Loop(self._footage, none, np.zeros(0), self.settings)

    def judge(self, verdict: Verdict) -> Verdict:
        """Appends a verdict to the log; returns it with its time and file identity."""
        appended = self.log.append(verdict)
        self._apply_verdicts()
        return appended

    def undo(self, reviewer: str) -> Verdict | None:
        """Undoes and returns a reviewer's latest verdict; None if there is none."""
        undone = self.log.undo(reviewer)
        self._apply_verdicts()
        return undone

    def refresh(self) -> None:
        """Reads verdicts that other processes have written."""
        if self.log.refresh():
            self._apply_verdicts()

    @property
    def is_outdated(self) -> bool:
        """Whether frames were ranked again after this desk was opened."""
        with contextlib.suppress(FileNotFoundError):  # a ranking is in progress
            return _id(self.results.read_ranking()) != self.ranking_id
        return False

    @property
    def num_verdicts(self) -> int:
        """Number of current verdicts."""
        return len(self.verdicts)

    @property
    def learning_is_due(self) -> bool:
        """Whether enough verdicts were added or undone since the last refit."""
        return abs(self.num_verdicts - self.queue.num_verdicts) >= self.settings.refit_every

    def learn(self) -> None:
        """Refits the classifier with all verdicts, and reorders the unseen moments."""
        with self._learning:
            with self._lock:
                states, segments, num_verdicts = self.states, self.segments, self.num_verdicts
            if self.queue.version and num_verdicts == self.queue.num_verdicts:
                return  # another thread has done it
            log_odds = self._log_odds(segments) if num_verdicts else None
            self.queue = self._ordered(
                states, self._static if log_odds is None else log_odds, num_verdicts, self.queue.version + 1
            )

    def _answers(self, segments: dict[str, list[Segment]]) -> np.ndarray:
        """Returns (n,) the label of each frame of the footage by the verdicts: 1, 0, or NaN without one."""
        answers = np.full(len(self._footage.videos), np.nan)
        for video, of_video in segments.items():
            number = self._number_of.get(video, -1)
            begin, end = np.searchsorted(self._footage.videos, [number, number + 1])
            times = self._footage.timestamps_s[begin:end]
            starts_s = [segment.start_s for segment in of_video]
            index = np.searchsorted(starts_s, times + 1e-6, side="right") - 1
            labels = np.array([_LABELS.get(segment.state, np.nan) for segment in of_video])[index]
            ends_s = np.array([segment.end_s for segment in of_video])[index] - 1e-6
            answers[begin:end] = np.where((index >= 0) & (times < ends_s), labels, np.nan)
        return answers

    def _log_odds(self, segments: dict[str, list[Segment]]) -> np.ndarray | None:
        rows = self.moments.rows
        kept = np.flatnonzero(rows >= 0)
        scored = self._loop.refit(self._answers(segments))
        if scored is None:
            return None
        log_odds = self._static.copy()
        log_odds[kept] = scored[rows[kept]]
        return log_odds

    def _ordered(self, states: np.ndarray, log_odds: np.ndarray, num_verdicts: int, version: int) -> Queue:
        unseen = np.flatnonzero(states == _UNSEEN)
        with_features = unseen[self.moments.rows[unseen] >= 0]
        slots = mix(log_odds, with_features, self.moments.audit, num_verdicts, self.settings)
        rest = unseen[self.moments.rows[unseen] < 0]  # moments without loaded features keep their rank
        moments = np.append(np.array([slot.index for slot in slots], int), rest)
        reasons = np.zeros(len(states), np.int8)
        for slot in slots:
            reasons[slot.index] = REASONS.index(slot.reason)
        return Queue(version, moments, reasons, log_odds, num_verdicts)

    def _apply_verdicts(self) -> None:
        with self._lock:
            self.verdicts = self.log.verdicts()
            self.segments = segments_by_video(self.verdicts)
            states = np.zeros(len(self.moments), np.int8)
            for video, segments in self.segments.items():
                if video in self._number_of:
                    indices = self.moments.of_video(self._number_of[video])
                    states[indices] = moment_states(
                        self.moments.starts_s[indices], self.moments.ends_s[indices], segments
                    )
            self.states = states

    def missed(self) -> Missed:
        """Estimates the suspicious frames outside incidents that are still unseen, from the audit sample."""
        sample = Sample.of(self.states[self.moments.audit])
        outside = self.states[self.moments.num_incidents :]
        return estimate_missed(
            frames=self.results.ranking["frames_outside_incidents"],
            drawn=sample.suspicious + sample.harmless,
            drawn_suspicious=sample.suspicious,
            found=int((outside == _SUSPICIOUS).sum()),
            unsure=sample.unsure,
        )

    def counts(self) -> dict[str, int]:
        """Returns the number of moments in each state."""
        return {state: int((self.states == number).sum()) for number, state in enumerate(STATES)}


def _id(ranking: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(ranking, sort_keys=True).encode()).hexdigest()[:12]


def missed_in(output: str) -> Missed:
    """Estimates the unseen suspicious frames outside incidents of an output, from its audit sample."""
    return Desk(output, LoopSettings()).missed()
