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
        low: lower end of the 95% confidence interval of `estimate`. No unsure verdict counts as suspicious.
        high: upper end. Every unsure verdict counts as suspicious.
        unsure: frames of the random sample on which reviewers are unsure or disagree.
    """

    frames: int
    drawn: int
    drawn_suspicious: int
    found: int
    estimate: float
    low: int
    high: int
    unsure: int = 0

    @property
    def sentence(self) -> str:
        """The estimate as a sentence."""
        unsure = f"{self.unsure} more {'was' if self.unsure == 1 else 'were'} unsure"
        if not self.drawn:
            without = "no audit sample yet: review moments that are shown at random"
            return without + (f" (so far, {self.unsure} unsure)" if self.unsure else "")
        return (
            f"about {self.estimate:.0f} suspicious frames (95%: {self.low} to {self.high}) are still unseen "
            f"in the {self.frames} frames outside incidents: {self.drawn_suspicious} of {self.drawn} frames "
            "drawn at random were suspicious"
            + (f", and {unsure}, which only the upper bound counts as suspicious" if self.unsure else "")
        )


def estimate_missed(frames: int, drawn: int, drawn_suspicious: int, found: int, *, unsure: int = 0) -> Missed:
    """Returns an estimate from a simple random sample, drawn without replacement.

    The interval is exact (Clopper-Pearson, for the hypergeometric distribution): it contains the numbers of
    suspicious frames for which a sample at least this extreme, on either side, has a probability above 2.5%.
    Unsure verdicts belong to the sample. They count as suspicious for the upper end, and as not suspicious
    for the lower end. The estimate leaves them out.
    """
    size, harmless = drawn + unsure, drawn - drawn_suspicious
    least = _smallest(
        drawn_suspicious, frames, lambda all_of_it: _at_least(frames, all_of_it, size, drawn_suspicious)
    )
    most = frames - _smallest(harmless, frames, lambda others: _at_least(frames, others, size, harmless))
    expected = frames * drawn_suspicious / drawn if drawn else 0.0
    return Missed(
        frames=frames,
        drawn=drawn,
        drawn_suspicious=drawn_suspicious,
        found=found,
        estimate=max(0.0, expected - found),
        low=max(0, least - found),
        high=max(0, most - found),
        unsure=unsure,
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
