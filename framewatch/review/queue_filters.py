"""Filters and orders the moments of the queue."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framewatch.feedback import STATES
from framewatch.feedback.desk import Desk
from framewatch.review.fields import NUMBER, TEXT, Field, one_of

ORDERS = ("suggested", "rank", "time")
SHOWN = ("unseen", "reviewed", "all", *STATES[1:])
FIELDS: Mapping[str, Field] = {
    "order": one_of(ORDERS),
    "shown": one_of(SHOWN),
    "video": TEXT,
    "kind": TEXT,
    **dict.fromkeys(("from_s", "to_s", "min_prob", "max_prob"), NUMBER),
}


@dataclass(frozen=True)
class QueueFilter:
    """A reviewer's filter of the queue.

    Attributes:
        order: `suggested` by active learning, `rank` from the job, or `time` by video.
        shown: a state of `STATES`, `reviewed` for all states but unseen, or `all`.
        video: part of a video's URI, ignoring case.
        kind: a kind of event, ignoring case.
        from_s: drops moments that end at this second of their video or earlier.
        to_s: drops moments that begin at this second or later.
        min_prob: minimum probability.
        max_prob: maximum probability.
    """

    order: str = "suggested"
    shown: str = "unseen"
    video: str = ""
    kind: str = ""
    from_s: float = 0.0
    to_s: float = float("inf")
    min_prob: float = 0.0
    max_prob: float = 1.0

    def apply(self, desk: Desk) -> np.ndarray:
        """Returns the indices of the matching moments, in order."""
        moments, queue = desk.moments, desk.queue
        if self.order == "suggested":
            ordered = np.zeros(len(moments), bool)
            ordered[queue.moments] = True
            # Moments whose verdict was undone since the last refit come first.
            undone, answered = (
                np.flatnonzero(~ordered & chosen) for chosen in (desk.states == 0, desk.states != 0)
            )
            order = np.concatenate([undone, queue.moments, answered])
        else:
            order = np.arange(len(moments)) if self.order == "rank" else moments.by_video
        keep = self._in_state(desk.states) & (moments.ends_s > self.from_s) & (moments.starts_s < self.to_s)
        probability = 1 / (1 + np.exp(-queue.log_odds))
        keep &= (probability >= self.min_prob) & (probability <= self.max_prob)
        if self.video:
            wanted = [self.video.lower() in name.lower() for name in moments.names]
            keep &= np.array(wanted, bool)[moments.videos]
        if self.kind:
            keep &= np.array(
                [(kind or "").casefold() == self.kind.casefold() for kind in moments.kinds], bool
            )
        return order[keep[order]]

    def _in_state(self, states: np.ndarray) -> np.ndarray:
        if self.shown == "all":
            return np.ones(len(states), bool)
        if self.shown == "reviewed":
            return states != 0
        return states == STATES.index(self.shown)
