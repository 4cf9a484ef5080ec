"""Configuration sections after the features: classifier, evaluation, ranking, classes, search and review."""

import re
from dataclasses import dataclass, field

from framewatch.config.checks import require, require_choice

_NAME = re.compile(r"[A-Za-z_]\w{0,200}\Z", re.ASCII)
_BLOCKS, _CONTEXT = ("still", "change", "motion"), "context"
_ORIGIN = re.compile(r"https?://[\w.-]+(:\d+)?/?\Z", re.ASCII)


@dataclass(frozen=True)
class ClassifierConfig:
    """Parameters of Spark's LogisticRegression; the defaults are those of the 2018 notebooks.

    `features` are the blocks to use: `still`, `change` and `motion`, separated by commas, and perhaps
    `context`, which adds the seconds around a frame; or `auto`.
    """

    features: str = "still"
    max_iter: int = 20
    reg_param: float = 0.05
    elastic_net_param: float = 0.3
    standardization: bool = True
    class_weights: str = "none"
    calibration: str = "auto"
    verdict_weight: float = 4.0
    path: str | None = None

    def __post_init__(self) -> None:
        names = self._features
        rule = f"give some of {', '.join(_BLOCKS)}, perhaps with context, separated by commas and each once, "
        known = {*names} <= {*_BLOCKS, _CONTEXT} and len({*names}) == len(names) and self.blocks != ()
        require(known or names == ["auto"], "classifier.features", self.features, f"{rule}or auto")
        require(self.verdict_weight > 0, "classifier.verdict_weight", self.verdict_weight, "give more than 0")
        require(self.max_iter >= 1, "classifier.max_iter", self.max_iter, "give 1 or more")
        require(self.reg_param >= 0, "classifier.reg_param", self.reg_param, "give 0 or more")
        require(
            0 <= self.elastic_net_param <= 1,
            "classifier.elastic_net_param",
            self.elastic_net_param,
            "give 0 to 1",
        )
        require_choice("classifier.class_weights", self.class_weights, ("none", "balanced"))
        require_choice("classifier.calibration", self.calibration, ("auto", "none", "platt", "isotonic"))

    @property
    def _features(self) -> list[str]:
        return [name.strip() for name in self.features.split(",")]

    @property
    def blocks(self) -> tuple[str, ...] | None:
        """The blocks of features to use, in the order of the table; None for `auto`."""
        return None if self.features == "auto" else tuple(name for name in _BLOCKS if name in self._features)

    @property
    def context(self) -> bool | None:
        """Whether to use the seconds around a frame; None for `auto`."""
        return None if self.features == "auto" else _CONTEXT in self._features


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation of the classifier, which leaves out whole groups of videos."""

    folds: int = 5
    precision_at: list[int] = field(default_factory=lambda: [3, 10, 20])
    budgets_minutes: list[float] = field(default_factory=lambda: [1.0, 2.0, 5.0, 10.0, 20.0, 40.0])
    prevalence: float | None = None

    def __post_init__(self) -> None:
        require(
            self.folds == 0 or self.folds >= 2,
            "evaluation.folds",
            self.folds,
            "give 2 or more, or 0 for none",
        )
        require(
            all(k >= 1 for k in self.precision_at),
            "evaluation.precision_at",
            self.precision_at,
            "give numbers from 1",
        )
        require(
            all(minutes > 0 for minutes in self.budgets_minutes),
            "evaluation.budgets_minutes",
            self.budgets_minutes,
            "give minutes above 0",
        )
        share = self.prevalence
        rule = "give a share, above 0 and up to 1, or null to estimate it"
        require(share is None or 0 < share <= 1, "evaluation.prevalence", share, rule)


@dataclass(frozen=True)
class RankingConfig:
    """When a frame counts as suspicious: `prob2` above `threshold`, a number or `auto`."""

    threshold: float | int | str = 0.5
    recall: float = 0.9
    budget_minutes: float | None = None
    show: int = 10

    def __post_init__(self) -> None:
        number = isinstance(self.threshold, float | int) and 0 <= self.threshold <= 1
        rule = "give a probability, 0 to 1, or auto"
        require(number or self.threshold == "auto", "ranking.threshold", self.threshold, rule)
        require(0 < self.recall <= 1, "ranking.recall", self.recall, "give a share, above 0 and up to 1")
        minutes = self.budget_minutes
        require(minutes is None or minutes > 0, "ranking.budget_minutes", minutes, "give minutes above 0")
        require(self.show >= 0, "ranking.show", self.show, "give 0 or more")


@dataclass(frozen=True)
class IncidentsConfig:
    """When neighbouring suspicious frames become one incident."""

    gap_s: float = 2.0
    min_length_s: float = 0.0
    smoothing_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gap_s", "min_length_s", "smoothing_s"):
            value = getattr(self, name)
            require(value >= 0, f"incidents.{name}", value, "give seconds, 0 or more")


@dataclass(frozen=True)
class ClassesConfig:
    """Classes by prompts: when frames form a clip, and when a video has a class."""

    gap_s: float = 2.0
    min_duration_ratio: float = 0.5

    def __post_init__(self) -> None:
        require(self.gap_s >= 0, "classes.gap_s", self.gap_s, "give seconds, 0 or more")
        ratio = self.min_duration_ratio
        require(0 <= ratio <= 1, "classes.min_duration_ratio", ratio, "give a share, 0 to 1")


@dataclass(frozen=True)
class IndexConfig:
    """Similar moments: the collection, the length of clips, and the limit of near-duplicates."""

    uri: str | None = None
    collection: str = "framewatch"
    clip_s: float = 6.0
    still_cosine: float = 0.99
    exact: bool = False
    scenes: int = 256
    sketch_length: int = 256
    writers: int = 4
    gap_s: float = 2.0

    def __post_init__(self) -> None:
        rule = "give a name of letters, digits and _, a letter first"
        require(bool(_NAME.match(self.collection)), "index.collection", self.collection, rule)
        require(self.clip_s >= 0, "index.clip_s", self.clip_s, "give seconds, or 0 for no clips")
        cosine = self.still_cosine
        require(0 < cosine <= 1, "index.still_cosine", cosine, "give a cosine, above 0 and up to 1")
        require(self.scenes >= 0, "index.scenes", self.scenes, "give 0 or more")
        require(self.sketch_length >= 2, "index.sketch_length", self.sketch_length, "give 2 or more")
        require(self.writers >= 1, "index.writers", self.writers, "give 1 or more")
        require(self.gap_s >= 0, "index.gap_s", self.gap_s, "give seconds, 0 or more")


@dataclass(frozen=True)
class ExploreConfig:
    """Clusters and outliers of the footage."""

    clusters: int = 12
    usual_share: float = 0.02
    outliers: int = 100

    def __post_init__(self) -> None:
        require(self.clusters >= 2, "explore.clusters", self.clusters, "give 2 or more")
        require(0 <= self.usual_share <= 1, "explore.usual_share", self.usual_share, "give a share, 0 to 1")
        require(self.outliers >= 1, "explore.outliers", self.outliers, "give 1 or more")


@dataclass(frozen=True)
class ReviewConfig:
    """The review page: the mix of its queue, and its caches."""

    refit_every: int = 4
    uncertain_share: float = 0.1
    random_share: float = 0.1
    candidates: int = 5000
    lead_s: float = 3.0
    cache_mb: int = 2000
    public_url: str | None = None

    def __post_init__(self) -> None:
        for name in ("refit_every", "candidates", "cache_mb"):
            require(getattr(self, name) >= 1, f"review.{name}", getattr(self, name), "give 1 or more")
        for name in ("uncertain_share", "random_share"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"review.{name}", value, "give a share, 0 to 1")
        both = round(self.uncertain_share + self.random_share, 9)
        rule = "with review.uncertain_share, give at most 1"
        require(both <= 1, "review.random_share", self.random_share, rule)
        require(self.lead_s >= 0, "review.lead_s", self.lead_s, "give seconds, 0 or more")
        url = self.public_url
        rule = "give scheme and host alone, such as https://review.example.com"
        require(url is None or bool(_ORIGIN.match(url)), "review.public_url", url, rule)
