"""Merges moments into hits: neighbours in time become one hit. Does not import Spark."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Hit:
    """A result of a search, `[start_s, end_s)` of its video, and the best-scored moment in it.

    Attributes:
        origin: identifies the best moment.
        video: URI of the video.
        start_s: start in seconds from the video's first frame.
        end_s: end in seconds from the video's first frame.
        peak_s: start of the best moment, in seconds.
        score: cosine of the best moment with the query, -1 to 1.
        scope: `frame` or `clip`: what the best moment is.
        probability: P(suspicious) of the best moment; None if it was not ranked.
        label: 1 for suspicious, 0 for not suspicious; None without a label.
        rejected: whether reviewers answered that most of the moment is not suspicious.
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
        """Returns whether the two are in the same video, at most `gap_s` seconds apart."""
        apart_s = max(self.start_s, other.start_s) - min(self.end_s, other.end_s)
        return self.video == other.video and apart_s <= gap_s + 1e-9


class Merged:
    """Merges moments, in order of score, until there are enough hits.

    A moment close to a hit, with nearly the same score, extends it; if close to two hits, it merges them. A
    moment that is close but has a much lower score is skipped. Any other moment becomes a new hit. The first
    moment that would be one hit too many ends the merging, so the result does not depend on the number of
    moments offered.

    Attributes:
        is_full: whether `limit` is reached and a further hit was offered.
    """

    def __init__(self, *, limit: int, gap_s: float | None, drop: float) -> None:
        """Starts without hits.

        Args:
            limit: maximum number of hits.
            gap_s: maximum seconds between moments to merge; None merges no moments.
            drop: the drop in score beyond which a neighbour is a different picture and is not merged.
        """
        self._limit, self._gap_s, self._drop = limit, gap_s, drop
        self._of_video: dict[str, list[Hit]] = defaultdict(list)
        self._count = 0
        self.is_full = False

    def offer(self, moments: Iterable[Hit]) -> None:
        """Adds moments, in descending order of score, none above the score of earlier ones."""
        for moment in moments:
            if self.is_full:
                return
            self._take(moment)

    def _take(self, moment: Hit) -> None:
        hits_of_video = self._of_video[moment.video]
        near = [] if self._gap_s is None else [hit for hit in hits_of_video if hit.near(moment, self._gap_s)]
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
            start_s=min(part.start_s for part in [moment, *near]),
            end_s=max(part.end_s for part in [moment, *near]),
        )
        kept = [hit for hit in hits_of_video if hit not in near]
        self._of_video[moment.video] = sorted([*kept, joined], key=lambda hit: -hit.score)
        self._count += 1 - len(near)

    @property
    def hits(self) -> list[Hit]:
        """The current hits, the best first; equal scores in order of video and time."""
        found = [hit for hits in self._of_video.values() for hit in hits]
        return sorted(found, key=lambda hit: (-hit.score, hit.video, hit.start_s))
