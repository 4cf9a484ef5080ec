"""Defines the configuration. Each class is a section that checks itself, so every `Config` is valid.

The sections of the stages are in `inputs` and `outputs`, the other sections are here.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from framewatch.config.checks import require, require_choice
from framewatch.config.inputs import (
    ExtractConfig,
    FeaturesConfig,
    FeaturizerConfig,
    FramesConfig,
    ImagesConfig,
    LabelsConfig,
    SamplingConfig,
    VideosConfig,
)
from framewatch.config.outputs import (
    ClassesConfig,
    ClassifierConfig,
    EvaluationConfig,
    ExploreConfig,
    IncidentsConfig,
    IndexConfig,
    RankingConfig,
    ReviewConfig,
)
from framewatch.io import storage
from framewatch.io.access import UMASKS
from framewatch.io.logs import LEVELS
from framewatch.io.redact import redact, redact_options


@dataclass(frozen=True)
class CatalogConfig:
    """SQL tables: in spark-sql and DuckDB, or in a named catalog such as Unity Catalog's."""

    enabled: bool = True
    name: str | None = None
    database: str = "framewatch"


@dataclass(frozen=True)
class TablesConfig:
    """How the tables are stored."""

    format: str = "parquet"

    def __post_init__(self) -> None:
        require_choice("tables.format", self.format, ("parquet", "delta"))


@dataclass(frozen=True)
class LockConfig:
    """How only one run at a time uses an output: a file lock, or a lease on storage without locks."""

    kind: str = "auto"
    lease_s: float = 120.0

    def __post_init__(self) -> None:
        require_choice("lock.kind", self.kind, ("auto", "file", "lease"))
        require(self.lease_s > 0, "lock.lease_s", self.lease_s, "give seconds above 0")


@dataclass(frozen=True)
class FilesConfig:
    """Which users of the machine may read the written files."""

    access: str = "private"

    def __post_init__(self) -> None:
        require_choice("files.access", self.access, tuple(UMASKS))


@dataclass(frozen=True)
class WatchConfig:
    """`run --watch`: the source of new videos, the polling period, and when a file counts as complete."""

    source: str = "files"
    period_s: float = 60.0
    settle_s: float = 10.0
    max_failures: int = 5
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_choice("watch.source", self.source, ("files", "cloudFiles"))
        require(self.period_s >= 0, "watch.period_s", self.period_s, "give seconds, or 0 to look once")
        require(self.settle_s >= 0, "watch.settle_s", self.settle_s, "give seconds, 0 or more")
        require(self.max_failures >= 1, "watch.max_failures", self.max_failures, "give 1 or more")
        rule = "they are for watch.source=cloudFiles"
        require(self.source == "cloudFiles" or not self.options, "watch.options", self.options, rule)


@dataclass(frozen=True)
class TrackingConfig:
    """The MLflow server to log parameters, metrics, results and models to, if any."""

    enabled: bool = False
    uri: str | None = None
    experiment: str = "framewatch"
    model_name: str | None = "framewatch"

    def __post_init__(self) -> None:
        name = self.model_name
        require(bool(self.experiment.strip()), "tracking.experiment", self.experiment, "give it a name")
        rule = "give a name without / and :, or null to register no model"
        named = name is None or (bool(name.strip()) and not {"/", ":"} & set(name))
        require(named, "tracking.model_name", name, rule)


@dataclass(frozen=True)
class LoggingConfig:
    """The log file, in addition to stderr."""

    file: str | None = None
    level: str = "info"
    json: bool = False
    max_mb: float = 10.0
    keep: int = 3

    def __post_init__(self) -> None:
        require_choice("logging.level", self.level, LEVELS)
        require(self.max_mb > 0, "logging.max_mb", self.max_mb, "give more than 0")
        require(self.keep >= 1, "logging.keep", self.keep, "give 1 or more")


@dataclass(frozen=True)
class SparkConfig:
    """The Spark session. Without `master`, it is that of spark-submit, or `local[*]`."""

    master: str | None = None
    remote: str | None = None
    app_name: str = "framewatch"
    conf: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """The complete configuration, one field per section."""

    videos: VideosConfig = field(default_factory=VideosConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    output: str = "out/framewatch"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    featurizer: FeaturizerConfig = field(default_factory=FeaturizerConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    incidents: IncidentsConfig = field(default_factory=IncidentsConfig)
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    review: ReviewConfig = field(default_factory=ReviewConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    tables: TablesConfig = field(default_factory=TablesConfig)
    lock: LockConfig = field(default_factory=LockConfig)
    files: FilesConfig = field(default_factory=FilesConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)

    @property
    def model_path(self) -> str:
        """Directory of the classifier, its metrics and its card."""
        return self.classifier.path or storage.join(self.output, "model")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain nested dicts and lists, in the order of the sections."""
        return dataclasses.asdict(self)

    def shown(self) -> dict[str, Any]:
        """Returns `to_dict` without secrets, for printing and for files."""
        values = self.to_dict()
        for section, key in (("spark", "conf"), ("watch", "options")):
            values[section][key] = redact_options(values[section][key])
        return redact(values)

    def sha256(self) -> str:
        """Returns the hash of `shown`, so that it does not depend on passwords and does not reveal them."""
        return hashlib.sha256(json.dumps(self.shown(), sort_keys=True).encode()).hexdigest()
