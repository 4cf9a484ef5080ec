"""Which moments of the queue to list."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framewatch.errors import InputError
from framewatch.review.desk import Desk
from framewatch.verdicts import STATES

ORDERS = ("suggested", "rank", "time")
SHOWN = ("unseen", "reviewed", "all", *STATES[1:])


@dataclass(frozen=True)
class Filter:
    """What a reviewer asks for.

    Attributes:
        order: `suggested` by the loop, `rank` of the job, or `time` by video.
        shown: a state of `STATES`, `reviewed` for all but unseen, or `all`.
        video: part of the names of the videos wanted, in any case.
        from_s: moments that are over by this second of their video are left out.
        to_s: moments that begin at this second or later are left out.
        min_prob: the least probability.
        max_prob: the greatest.
    """

    order: str = "suggested"
    shown: str = "unseen"
    video: str = ""
    from_s: float = 0.0
    to_s: float = float("inf")
    min_prob: float = 0.0
    max_prob: float = 1.0

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> "Filter":
        """Reads the arguments of a request; empty ones count as missing.

        Raises:
            InputError: one is not valid.
        """
        given = {name: value for name, value in arguments.items() if value != ""}
        for name, choices in (("order", ORDERS), ("shown", SHOWN)):
            if given.get(name, choices[0]) not in choices:
                raise InputError(f"{name}={given[name]} is not valid: choose one of {', '.join(choices)}")
        numbers = {name: number(given, name) for name in ("from_s", "to_s", "min_prob", "max_prob")}
        return cls(
            order=given.get("order", "suggested"),
            shown=given.get("shown", "unseen"),
            video=given.get("video", ""),
            **{name: value for name, value in numbers.items() if value is not None},
        )

    def apply(self, desk: Desk) -> np.ndarray:
        """Numbers of the moments, in order."""
        moments, queue = desk.moments, desk.queue
        if self.order == "suggested":
            ordered = np.zeros(len(moments), bool)
            ordered[queue.moments] = True
            # An answer that was taken back since comes first.
            again, answered = (
                np.flatnonzero(~ordered & chosen) for chosen in (desk.states == 0, desk.states != 0)
            )
            order = np.concatenate([again, queue.moments, answered])
        else:
            order = np.arange(len(moments)) if self.order == "rank" else moments.by_video
        keep = self._in_state(desk.states) & (moments.ends_s > self.from_s) & (moments.starts_s < self.to_s)
        probability = 1 / (1 + np.exp(-queue.log_odds))
        keep &= (probability >= self.min_prob) & (probability <= self.max_prob)
        if self.video:
            wanted = [self.video.lower() in name.lower() for name in moments.names]
            keep &= np.array(wanted, bool)[moments.videos]
        return order[keep[order]]

    def _in_state(self, states: np.ndarray) -> np.ndarray:
        if self.shown == "all":
            return np.ones(len(states), bool)
        if self.shown == "reviewed":
            return states != 0
        return states == STATES.index(self.shown)


def number(arguments: Mapping[str, str], name: str) -> float | None:
    """A finite number out of text; None where there is none.

    Raises:
        InputError: it is no number.
    """
    if arguments.get(name, "") == "":
        return None
    try:
        value = float(arguments[name])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"{name}={arguments[name]} is not valid: give a number")
    return value
