"""The desk: the moments of one output, what has been said of them, and in which order to look at the rest."""

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
from framewatch.tables.results import Results, read_vectors

_UNSEEN, _SUSPICIOUS, _NOT, _UNSURE, _DISAGREEMENT = range(5)
# Of the answers to a frame, those that teach.
_TAUGHT = {"suspicious": 1.0, "not": 0.0}


@dataclass(frozen=True)
class Queue:
    """An order of all moments that nobody has answered.

    Attributes:
        version: rises with each new order.
        moments: their numbers.
        reasons: (n,) why each of all moments is where it is, as a number into `REASONS`.
        log_odds: (n,) of every moment, as the order's classifier has it.
        num_verdicts: that it has learned from.
    """

    version: int
    moments: np.ndarray
    reasons: np.ndarray
    log_odds: np.ndarray
    num_verdicts: int


class Desk:
    """Holds one output's moments for any number of reviewers, who may call its methods at once."""

    def __init__(self, output: str, settings: LoopSettings) -> None:
        """Reads tables and verdicts, and ranks what is unseen.

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
        # Where probabilities round to the same number, ranks still tell moments apart.
        self._static = np.log(static / (1 - static)) - 1e-9 * np.arange(len(self.moments))
        self.ranking_id = _id(self.results.ranking)
        self._take_in()
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
        """Keeps a verdict."""
        kept = self.log.append(verdict)
        self._take_in()
        return kept

    def undo(self, reviewer: str) -> Verdict | None:
        """Takes back a reviewer's last verdict; None where there is none."""
        undone = self.log.undo(reviewer)
        self._take_in()
        return undone

    def refresh(self) -> None:
        """Takes in what others have written."""
        if self.log.refresh():
            self._take_in()

    @property
    def is_outdated(self) -> bool:
        """Whether frames have been ranked anew since."""
        with contextlib.suppress(FileNotFoundError):  # it is being ranked
            return _id(self.results.read_ranking()) != self.ranking_id
        return False

    @property
    def num_verdicts(self) -> int:
        """Verdicts that stand."""
        return len(self.verdicts)

    @property
    def learning_is_due(self) -> bool:
        """Whether enough verdicts have come, or gone, since the last refit."""
        return abs(self.num_verdicts - self.queue.num_verdicts) >= self.settings.refit_every

    def learn(self) -> None:
        """Orders anew what is unseen, by a classifier refit with all verdicts."""
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
        """What is said of each row of the footage, at its own second: 1, 0, or NaN."""
        answers = np.full(len(self._footage.videos), np.nan)
        for video, its in segments.items():
            number = self._number_of.get(video, -1)
            begin, end = np.searchsorted(self._footage.videos, [number, number + 1])
            times = self._footage.timestamps_s[begin:end]
            place = np.searchsorted([segment.start_s for segment in its], times + 1e-6, side="right") - 1
            said = np.array([_TAUGHT.get(segment.state, np.nan) for segment in its])[place]
            over = np.array([segment.end_s for segment in its])[place] - 1e-6
            answers[begin:end] = np.where((place >= 0) & (times < over), said, np.nan)
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
        at_hand = unseen[self.moments.rows[unseen] >= 0]
        slots = mix(log_odds, at_hand, self.moments.audit, num_verdicts, self.settings)
        rest = unseen[self.moments.rows[unseen] < 0]  # beyond what is kept at hand: as ranked
        moments = np.append(np.array([slot.index for slot in slots], int), rest)
        reasons = np.zeros(len(states), np.int8)
        for slot in slots:
            reasons[slot.index] = REASONS.index(slot.reason)
        return Queue(version, moments, reasons, log_odds, num_verdicts)

    def _take_in(self) -> None:
        with self._lock:
            self.verdicts = self.log.verdicts()
            self.segments = segments_by_video(self.verdicts)
            states = np.zeros(len(self.moments), np.int8)
            for video, segments in self.segments.items():
                if video in self._number_of:
                    its = self.moments.of_video(self._number_of[video])
                    states[its] = moment_states(
                        self.moments.starts_s[its], self.moments.ends_s[its], segments
                    )
            self.states = states

    def missed(self) -> Missed:
        """What a random sample says of the footage outside incidents."""
        states, audit = self.states[self.moments.audit], self.moments.audit
        reached = int(np.argmax(states == _UNSEEN)) if (states == _UNSEEN).any() else len(audit)
        drawn = states[:reached]
        outside = self.states[self.moments.num_incidents :]
        return estimate_missed(
            frames=self.results.ranking["frames_outside_incidents"],
            drawn=int(np.isin(drawn, (_SUSPICIOUS, _NOT)).sum()),
            drawn_suspicious=int((drawn == _SUSPICIOUS).sum()),
            found=int((outside == _SUSPICIOUS).sum()),
        )

    def counts(self) -> dict[str, int]:
        """How many moments are in each state."""
        return {state: int((self.states == number).sum()) for number, state in enumerate(STATES)}


def _id(ranking: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(ranking, sort_keys=True).encode()).hexdigest()[:12]


def missed_in(output: str) -> Missed:
    """What a random sample says of an output's footage outside incidents."""
    return Desk(output, LoopSettings()).missed()
