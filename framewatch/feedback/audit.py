"""Audit: estimates from a random sample how many suspicious frames outside incidents are still unseen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln


@dataclass(frozen=True)
class Missed:
    """An estimate of the suspicious frames outside incidents that no reviewer has seen.

    Attributes:
        frames: number of frames outside incidents.
        drawn: frames of the random sample with the verdict suspicious or not.
        drawn_suspicious: frames of the random sample with the verdict suspicious.
        found: suspicious frames outside incidents that reviewers found, in the sample or elsewhere.
        estimate: suspicious frames that are still unseen.
        low: lower end of the 95% confidence interval of `estimate`.
        high: upper end.
    """

    frames: int
    drawn: int
    drawn_suspicious: int
    found: int
    estimate: float
    low: int
    high: int

    @property
    def sentence(self) -> str:
        """The estimate as a sentence."""
        if not self.drawn:
            return "no audit sample yet: review moments that are shown at random"
        return (
            f"about {self.estimate:.0f} suspicious frames (95%: {self.low} to {self.high}) are still unseen "
            f"in the {self.frames} frames outside incidents: {self.drawn_suspicious} of {self.drawn} frames "
            "drawn at random were suspicious"
        )


def estimate_missed(frames: int, drawn: int, drawn_suspicious: int, found: int) -> Missed:
    """Returns an estimate from a simple random sample, drawn without replacement.

    The interval is exact (Clopper-Pearson, for the hypergeometric distribution): it contains the numbers of
    suspicious frames for which a sample at least this extreme, on either side, has a probability above 2.5%.
    """
    if drawn == 0:
        return Missed(frames, 0, 0, found, 0.0, 0, max(0, frames - found))
    least = _smallest(
        drawn_suspicious, frames, lambda all_of_it: _at_least(frames, all_of_it, drawn, drawn_suspicious)
    )
    most = frames - _smallest(
        drawn - drawn_suspicious,
        frames,
        lambda others: _at_least(frames, others, drawn, drawn - drawn_suspicious),
    )
    expected = frames * drawn_suspicious / drawn
    return Missed(
        frames=frames,
        drawn=drawn,
        drawn_suspicious=drawn_suspicious,
        found=found,
        estimate=max(0.0, expected - found),
        low=max(0, least - found),
        high=max(0, most - found),
    )


def _at_least(frames: int, marked: int, drawn: int, seen: int) -> bool:
    """Returns whether drawing `seen` or more of the marked frames has a probability above 2.5%."""
    draws = np.arange(max(seen, drawn - (frames - marked)), min(marked, drawn) + 1)
    log_chances = _log_choose(marked, draws) + _log_choose(frames - marked, drawn - draws)
    return bool(np.exp(log_chances - _log_choose(frames, drawn)).sum() > 0.025)


def _log_choose(total: int, chosen: np.ndarray | int) -> np.ndarray:
    return gammaln(total + 1) - gammaln(np.add(chosen, 1)) - gammaln(total - np.asarray(chosen) + 1)


def _smallest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Returns the smallest number from `low` to `high` for which `holds` is true, by bisection."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
