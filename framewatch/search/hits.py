"""What a search gives: moments by score, neighbours in time as one. No Spark in here."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Hit:
    """A moment that was found, `[start_s, end_s)` of its video.

    Attributes:
        origin: names the moment of the best score in it.
        video: URI of the source.
        start_s: seconds.
        end_s: seconds.
        peak_s: where the moment of the best score begins.
        score: its cosine with what is looked for, -1 to 1.
        scope: `frame` or `clip`, of that moment.
        probability: P(suspicious) of that moment; None where it was not ranked.
        label: 1 suspicious, 0 not; None where nobody said.
        rejected: whether a reviewer has said that it is not suspicious.
    """

    origin: str
    video: str
    start_s: float
    end_s: float
    peak_s: float
    score: float
    scope: str
    probability: float | None = None
    label: int | None = None
    rejected: bool = False

    def near(self, other: "Hit", gap_s: float) -> bool:
        """Whether no more than `gap_s` of the same video lie between the two."""
        apart_s = max(self.start_s, other.start_s) - min(self.end_s, other.end_s)
        return self.video == other.video and apart_s <= gap_s + 1e-9


class Merged:
    """Takes moments in order of score, until there are enough hits.

    A moment near a hit and hardly worse extends it; near two, it makes one of both. One that is near and much
    worse is passed over, and any other is a hit of its own. The first that would be one too many ends it, so
    what is found does not depend on how many are offered.
    """

    def __init__(self, *, limit: int, gap_s: float | None, drop: float) -> None:
        """Begins with none.

        Args:
            limit: hits.
            gap_s: seconds that may lie between neighbours; None to merge none.
            drop: of the score, from which on a neighbour is another picture, and no part of the hit.
        """
        self._limit, self._gap_s, self._drop = limit, gap_s, drop
        self._of_video: dict[str, list[Hit]] = defaultdict(list)
        self._count = 0
        self.is_full = False

    def offer(self, moments: Iterable[Hit]) -> None:
        """Takes the next moments, none of a better score than those before."""
        for moment in moments:
            if self.is_full:
                return
            self._take(moment)

    def _take(self, moment: Hit) -> None:
        its = self._of_video[moment.video]
        near = [] if self._gap_s is None else [hit for hit in its if hit.near(moment, self._gap_s)]
        if not near and self._count == self._limit:
            self.is_full = True
            return
        alike = [hit for hit in near if moment.score >= hit.score - self._drop]
        if near and not alike:
            return
        near = alike
        best = near[0] if near else moment
        joined = replace(
            best,
            start_s=min(it.start_s for it in [moment, *near]),
            end_s=max(it.end_s for it in [moment, *near]),
        )
        kept = [hit for hit in its if hit not in near]
        self._of_video[moment.video] = sorted([*kept, joined], key=lambda hit: -hit.score)
        self._count += 1 - len(near)

    @property
    def hits(self) -> list[Hit]:
        """Those found so far, the best first; what is equal by video and time."""
        found = [hit for its in self._of_video.values() for hit in its]
        return sorted(found, key=lambda hit: (-hit.score, hit.video, hit.start_s))
