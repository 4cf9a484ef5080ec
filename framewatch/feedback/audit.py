"""What was missed: from a random sample of the low-ranked footage, how much of it is suspicious."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln


@dataclass(frozen=True)
class Missed:
    """An estimate of the suspicious frames outside incidents that nobody has seen.

    Attributes:
        frames: outside incidents.
        drawn: of them, those of the random sample that have a sure answer.
        drawn_suspicious: of those, the suspicious.
        found: suspicious frames outside incidents that reviewers have found, in the sample or otherwise.
        estimate: how many are still unseen.
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
        """The estimate in words."""
        if not self.drawn:
            return "nothing outside the incidents has been drawn at random yet"
        return (
            f"about {self.estimate:.0f} suspicious frames (95%: {self.low} to {self.high}) are still unseen "
            f"in the {self.frames} frames outside incidents: of {self.drawn} drawn at random, "
            f"{self.drawn_suspicious} were suspicious"
        )


def estimate_missed(frames: int, drawn: int, drawn_suspicious: int, found: int) -> Missed:
    """Estimates from a simple random sample, drawn without replacement.

    The interval is exact (Clopper and Pearson's, for the hypergeometric distribution): it holds the numbers
    of suspicious frames for which a sample this extreme, to either side, has a chance above 2.5%.
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
    """Whether `seen` or more of the marked have a chance above 2.5% to be drawn."""
    draws = np.arange(max(seen, drawn - (frames - marked)), min(marked, drawn) + 1)
    log_chances = _log_choose(marked, draws) + _log_choose(frames - marked, drawn - draws)
    return bool(np.exp(log_chances - _log_choose(frames, drawn)).sum() > 0.025)


def _log_choose(of: int, chosen: np.ndarray | int) -> np.ndarray:
    return gammaln(of + 1) - gammaln(np.add(chosen, 1)) - gammaln(of - np.asarray(chosen) + 1)


def _smallest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number from `low` to `high` from which on `holds` is true."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
