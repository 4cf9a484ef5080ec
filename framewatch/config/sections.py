"""What can be set: each class is one section, and checks itself, so a `Config` that exists is valid."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from framewatch.errors import ConfigError
from framewatch.featurizer.models import MODELS, POOLINGS, PREPROCESSINGS, is_model_file
from framewatch.featurizer.spec import ENGINES, PRECISIONS, SCALE_HINTS


def _require(valid: bool, key: str, value: object, rule: str) -> None:
    if not valid:
        raise ConfigError(f"{key}={value} is not valid: {rule}")


def _require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    _require(value in choices, key, value, f"choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class VideosConfig:
    """Where the videos are: files, directories (searched below), or globs; one or a list."""

    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    root: str | None = None


@dataclass(frozen=True)
class LabelsConfig:
    """CSV files of hand labels, and whether reviewers' verdicts are labels too."""

    train: str | None = None
    test: str | None = None
    verdicts: bool = False


@dataclass(frozen=True)
class SamplingConfig:
    """Which frames to take: `fps` a second."""

    fps: float = 1.0
    mode: str = "exact"
    tolerance_s: float = 0.5

    def __post_init__(self) -> None:
        _require(
            0 < self.fps <= 240, "sampling.fps", self.fps, "give frames per second, above 0 and up to 240"
        )
        _require_choice("sampling.mode", self.mode, ("exact", "keyframes"))
        _require(self.tolerance_s > 0, "sampling.tolerance_s", self.tolerance_s, "give seconds above 0")


@dataclass(frozen=True)
class FramesConfig:
    """How a frame is kept."""

    jpeg_quality: int = 95
    max_side: int = 0
    write_images: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.jpeg_quality <= 100, "frames.jpeg_quality", self.jpeg_quality, "give 1 to 100")
        rule = "give 16 or more pixels, or 0 for any size"
        _require(self.max_side == 0 or self.max_side >= 16, "frames.max_side", self.max_side, rule)


@dataclass(frozen=True)
class ExtractConfig:
    """How a run goes through its videos."""

    mode: str = "resume"
    videos_per_batch: int = 64
    chunk_s: float = 600.0
    timeout_s: float = 3600.0
    max_failed_share: float = 0.1
    decode_all: bool = False

    def __post_init__(self) -> None:
        _require_choice("extract.mode", self.mode, ("resume", "retry", "overwrite"))
        for name in ("chunk_s", "timeout_s"):
            value = getattr(self, name)
            _require(value > 0, f"extract.{name}", value, "give seconds above 0")
        _require(
            self.videos_per_batch >= 1, "extract.videos_per_batch", self.videos_per_batch, "give 1 or more"
        )
        _require(
            0 <= self.max_failed_share <= 1,
            "extract.max_failed_share",
            self.max_failed_share,
            "give a share, 0 to 1",
        )


@dataclass(frozen=True)
class FeaturizerConfig:
    """The model that turns frames into features."""

    model: str = "InceptionV3"
    weights: str = "imagenet"
    scale_hint: str = "SCALE_AREA_AVERAGING"
    pooling: str = "avg"
    layer: str | None = None
    preprocessing: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    batch_size: int = 32
    threads: int = 0
    arrow_batch_rows: int = 64
    calibration_frames: int = 200
    frames_per_task: int = 64
    mode: str = "resume"

    def __post_init__(self) -> None:
        _require(
            self.model in MODELS or is_model_file(self.model),
            "featurizer.model",
            self.model,
            f"choose one of {', '.join(MODELS)}, or give a whole Keras model (.keras or .h5)",
        )
        for name in ("layer", "preprocessing"):
            _require(
                getattr(self, name) is None or is_model_file(self.model),
                f"featurizer.{name}",
                getattr(self, name),
                f"it is for a Keras model file, and {self.model} has its own",
            )
        _require_choice("featurizer.preprocessing", self.preprocessing or "raw", tuple(PREPROCESSINGS))
        _require_choice("featurizer.scale_hint", self.scale_hint, tuple(SCALE_HINTS))
        _require_choice("featurizer.pooling", self.pooling, POOLINGS)
        _require_choice("featurizer.engine", self.engine, ENGINES)
        _require_choice("featurizer.precision", self.precision, PRECISIONS)
        _require_choice("featurizer.mode", self.mode, ("resume", "overwrite"))
        for name in ("batch_size", "frames_per_task", "calibration_frames"):
            _require(getattr(self, name) >= 1, f"featurizer.{name}", getattr(self, name), "give 1 or more")
        for name in ("threads", "arrow_batch_rows"):
            _require(getattr(self, name) >= 0, f"featurizer.{name}", getattr(self, name), "give 0 or more")


@dataclass(frozen=True)
class ClassifierConfig:
    """Spark's LogisticRegression; the defaults are those of the 2018 notebooks."""

    max_iter: int = 20
    reg_param: float = 0.05
    elastic_net_param: float = 0.3
    standardization: bool = True
    class_weights: str = "none"
    verdict_weight: float = 4.0
    path: str | None = None

    def __post_init__(self) -> None:
        _require(
            self.verdict_weight > 0, "classifier.verdict_weight", self.verdict_weight, "give more than 0"
        )
        _require(self.max_iter >= 1, "classifier.max_iter", self.max_iter, "give 1 or more")
        _require(self.reg_param >= 0, "classifier.reg_param", self.reg_param, "give 0 or more")
        _require(
            0 <= self.elastic_net_param <= 1,
            "classifier.elastic_net_param",
            self.elastic_net_param,
            "give 0 to 1",
        )
        _require_choice("classifier.class_weights", self.class_weights, ("none", "balanced"))


@dataclass(frozen=True)
class EvaluationConfig:
    """Leave-whole-videos-out evaluation of the classifier."""

    folds: int = 5
    precision_at: list[int] = field(default_factory=lambda: [3, 10, 20])
    budgets_minutes: list[float] = field(default_factory=lambda: [1.0, 2.0, 5.0, 10.0, 20.0, 40.0])

    def __post_init__(self) -> None:
        _require(
            self.folds == 0 or self.folds >= 2,
            "evaluation.folds",
            self.folds,
            "give 2 or more, or 0 for none",
        )
        _require(
            all(k >= 1 for k in self.precision_at),
            "evaluation.precision_at",
            self.precision_at,
            "give numbers from 1",
        )
        _require(
            all(minutes > 0 for minutes in self.budgets_minutes),
            "evaluation.budgets_minutes",
            self.budgets_minutes,
            "give minutes above 0",
        )


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
        _require(number or self.threshold == "auto", "ranking.threshold", self.threshold, rule)
        _require(0 < self.recall <= 1, "ranking.recall", self.recall, "give a share, above 0 and up to 1")
        minutes = self.budget_minutes
        _require(minutes is None or minutes > 0, "ranking.budget_minutes", minutes, "give minutes above 0")
        _require(self.show >= 0, "ranking.show", self.show, "give 0 or more")


@dataclass(frozen=True)
class IncidentsConfig:
    """When neighbouring suspicious frames become one incident."""

    gap_s: float = 2.0
    min_length_s: float = 0.0
    smoothing_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gap_s", "min_length_s", "smoothing_s"):
            value = getattr(self, name)
            _require(value >= 0, f"incidents.{name}", value, "give seconds, 0 or more")


@dataclass(frozen=True)
class ReviewConfig:
    """The review page: how its queue is mixed, and what it keeps at hand."""

    refit_every: int = 4
    uncertain_share: float = 0.1
    random_share: float = 0.1
    candidates: int = 5000
    lead_s: float = 3.0
    cache_mb: int = 2000

    def __post_init__(self) -> None:
        for name in ("refit_every", "candidates", "cache_mb"):
            _require(getattr(self, name) >= 1, f"review.{name}", getattr(self, name), "give 1 or more")
        for name in ("uncertain_share", "random_share"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"review.{name}", value, "give a share, 0 to 1")
        both = round(self.uncertain_share + self.random_share, 9)
        rule = "with review.uncertain_share, give at most 1"
        _require(both <= 1, "review.random_share", self.random_share, rule)
        _require(self.lead_s >= 0, "review.lead_s", self.lead_s, "give seconds, 0 or more")


@dataclass(frozen=True)
class CatalogConfig:
    """SQL tables: a database in an embedded metastore, or a named catalog such as Unity Catalog's."""

    enabled: bool = True
    name: str | None = None
    database: str = "framewatch"


@dataclass(frozen=True)
class SparkConfig:
    """The Spark session; spark-submit's own settings come first."""

    master: str | None = None
    app_name: str = "framewatch"
    conf: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """All that a run needs to know."""

    videos: VideosConfig = field(default_factory=VideosConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    output: str = "out/framewatch"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    featurizer: FeaturizerConfig = field(default_factory=FeaturizerConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    incidents: IncidentsConfig = field(default_factory=IncidentsConfig)
    review: ReviewConfig = field(default_factory=ReviewConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dicts and lists, as the manifest keeps them."""
        return dataclasses.asdict(self)

    def sha256(self) -> str:
        """Hash of the resolved configuration: equal configurations have equal hashes."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()
