"""Defines a call of a stage, with its session, tables, summaries and manifest."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pyspark
from pyspark.sql import SparkSession

import framewatch
from framewatch.config import Config
from framewatch.io import logs, storage
from framewatch.io.redact import redact
from framewatch.io.terminal import print_aside, print_line
from framewatch.tables.layout import Format
from framewatch.tables.metadata import sampling_period_s
from framewatch.tables.spark_tables import Tables


@dataclass
class Run:
    """One call of a stage, or of all stages: session, configuration, tables, and counts for the manifest.

    Attributes:
        spark: the session.
        config: the configuration.
        is_ours: whether the session was started for this call, and ends with it.
        report: counts and settings to write to the manifest, by stage.
    """

    spark: SparkSession
    config: Config
    is_ours: bool = False
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def tables(self) -> Tables:
        """The tables below the configured output."""
        config = self.config
        return Tables(
            self.spark, config.output, cast(Format, config.tables.format), config.features.precision
        )

    @property
    def model_path(self) -> str:
        """Directory of the classifier, its metrics and its card."""
        return self.config.model_path

    @property
    def period_s(self) -> float:
        """Seconds between sampled frames."""
        return sampling_period_s(self.tables.metadata("frames"), default_fps=self.config.sampling.fps)

    def write_manifest(self, stage: str, started: datetime, status: str) -> str:
        """Writes the manifest, with stage, configuration, status and report, and returns its path.

        Args:
            stage: the stage that was called.
            started: when it started.
            status: `ok` or `failed`.
        """
        manifest = {
            "stage": stage,
            "status": status,
            "started_at": started.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
            "framewatch": framewatch.__version__,
            "spark": pyspark.__version__,
            "config_sha256": self.config.sha256(),
            "config": self.config.shown(),
            "report": redact(self.report),
        }
        name = f"{started:%Y%m%dT%H%M%S.%f}-{stage}.json"
        path = storage.join(self.config.output, "runs", name)
        storage.write_json(path, manifest)
        return path

    def summarize(self, stage: str, text: str, **counts: Any) -> None:
        """Prints a stage's closing line, and adds its counts to the manifest."""
        with logs.stage(stage):
            print_line(f"{stage}: {text}")
        self.report.setdefault(stage, {}).update(counts)

    def note(self, stage: str, text: str, **counts: Any) -> None:
        """Like `summarize`, but prints to stderr, for stages whose stdout is the result."""
        with logs.stage(stage):
            print_aside(f"{stage}: {text}")
        self.report.setdefault(stage, {}).update(counts)
