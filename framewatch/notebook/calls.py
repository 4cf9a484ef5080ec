"""Runs the stages from a notebook. Each call locks the output only while it runs.

from framewatch.notebook import open_run

run = open_run()
run.extract()
run.table("frames").show()
"""

import dataclasses
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pyspark.ml import Transformer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.config import Config, load_config
from framewatch.errors import InputError
from framewatch.io import access, terminal
from framewatch.notebook.show import notebook_names
from framewatch.pipeline import stages
from framewatch.prompts.request import parse_request
from framewatch.samples import draw_samples
from framewatch.search import rendering
from framewatch.search.query import Kind, QueryPart
from framewatch.search.searcher import Wanted
from framewatch.spark.session import get_spark
from framewatch.tables import views
from framewatch.tables.layout import Format
from framewatch.tables.spark_tables import TABLES, Tables

_SAMPLES = "out/samples"
_DATABRICKS_VIDEOS = "dbfs:/databricks-datasets/cctvVideos"
# The paths of the data, as in conf/demo.yaml and conf/databricks.yaml.
_HERE = (
    f"videos.train={_SAMPLES}/train",
    f"videos.test={_SAMPLES}/test",
    f"labels.train={_SAMPLES}/labels_train.csv",
    f"labels.test={_SAMPLES}/labels_test.csv",
)
_ON_DATABRICKS = (
    f"videos.train={_DATABRICKS_VIDEOS}/train",
    f"videos.test={_DATABRICKS_VIDEOS}/test",
    f"labels.train={_DATABRICKS_VIDEOS}/labels/cctvFrames_train_labels.csv",
)
_LOCAL = ("featurizer.weights=auto", "spark.conf.spark.sql.shuffle.partitions=4")
# Turned off, because notebooks show the top of the ranking as pictures.
_EVERYWHERE = ("ranking.show=0",)
_OUTPUT = "out/notebooks"
_DATABRICKS_OUTPUT = "/Volumes/main/framewatch/data/notebooks"
# The tables of the views, which have no pictures and vectors.
_NARROW = ("predictions", "incidents", "videos")
# The columns of search results.
_HIT = {
    "rank": "int", "score": "double", "video": "string", "start_s": "double", "end_s": "double",
    "peak_s": "double", "origin": "string", "scope": "string", "probability": "double", "label": "int",
}  # fmt: skip
# Tables that may not exist after a ranking.
_OPTIONAL = ("classifications", "class_clips", "clusters", "cluster_frames", "cluster_times", "outliers")


@dataclass(frozen=True)
class NotebookRun:
    """Runs the stages on one output, and reads its tables.

    Attributes:
        spark: the session.
        config: the configuration of the stages.
    """

    spark: SparkSession
    config: Config

    def extract(self) -> None:
        """Extracts videos -> `frames` and `videos`; skips videos that were extracted before."""
        self._call("extract")

    def ingest(self) -> None:
        """Ingests videos -> `frames`, `features` and `videos`, in one pass; skips recorded videos."""
        self._call("ingest")

    def featurize(self) -> None:
        """Featurizes `frames` -> `features`; skips existing features."""
        self._call("featurize")

    def train(self) -> None:
        """Trains on `features` and labels -> the classifier, and its metrics on left-out videos."""
        self._call("train")

    def rank(self) -> None:
        """Ranks `features` with the classifier -> `predictions`, `incidents` and the report."""
        self._call("rank")

    def classify_by_examples(
        self,
        examples: Mapping[str, Sequence[str]],
        *,
        threshold: float = 75.0,
        min_duration_ratio: float = 0.5,
    ) -> None:
        """Classifies `features` by example frames -> `classifications` and `class_clips`.

        Args:
            examples: names of frames for each class, such as `Fight1frame0012.jpg`.
            threshold: the lowest score of a match, 0 to 100.
            min_duration_ratio: the share of a video that clips of a class must cover to assign the class.

        Raises:
            InputError: a frame does not exist, or has no features.
        """
        classes = [
            {"name": name, "prompts": [{"example": frame} for frame in frames]}
            for name, frames in examples.items()
        ]
        source = {"classes": classes, "threshold": threshold}
        settings = dataclasses.replace(self.config.classes, min_duration_ratio=min_duration_ratio)
        config = dataclasses.replace(self.config, classes=settings)
        request = parse_request(source)
        with stages.start(config, "classify", request=request) as run:
            stages.classify(run, request, source=source)

    def index(self) -> None:
        """Indexes `features` -> the index of moments; updates an existing index."""
        stages.index(self.config)

    def find_similar(
        self,
        *,
        frames: Sequence[str] = (),
        clips: Sequence[str] = (),
        images: Sequence[str] = (),
        texts: Sequence[str] = (),
        limit: int = 10,
        by_video: bool = False,
    ) -> DataFrame:
        """Finds the moments most similar to all examples together; also creates the view `similar`.

        Args:
            frames: names of frames, optionally with a weight, `NAME*WEIGHT`.
            clips: `VIDEO@FROM-TO`, in seconds.
            images: picture files.
            texts: texts; they need CLIP features.
            limit: the maximum number of moments.
            by_video: whether to return only the best moment of each video.

        Returns:
            `rank`, `score`, `video`, `start_s`, `end_s`, `peak_s`, `origin`, `scope`, `probability`, `label`.

        Raises:
            InputError: there is no example, an example is not valid, or there is no index.
        """
        kinds: tuple[tuple[Kind, Sequence[str]], ...] = (
            ("frame", frames), ("image", images), ("clip", clips), ("text", texts)
        )  # fmt: skip
        parts = [QueryPart.parse(kind, text) for kind, examples in kinds for text in examples]
        wanted = Wanted(limit, by_video=by_video, gap_s=self.config.index.gap_s)
        rows = rendering.as_json(stages.search(self.config, parts, wanted))["data"]
        found = self.spark.createDataFrame(
            [tuple(row[name] for name in _HIT) for row in rows],
            ", ".join(f"{name} {kind}" for name, kind in _HIT.items()),
        )
        found.createOrReplaceTempView("similar")
        return found

    def similarity(self, frame: str, video: str) -> DataFrame:
        """Returns the similarity of each second of a video to a frame: `timestamp_s`, `score`.

        Raises:
            InputError: the frame or the video does not exist.
        """
        _, times_s, values = stages.similarity(self.config, [QueryPart.parse("frame", frame)], video)
        rows = list(zip(times_s.tolist(), values.tolist(), strict=True))
        return self.spark.createDataFrame(rows, "timestamp_s double, score double")

    def table(self, name: str) -> DataFrame:
        """Reads a table of the output; for `videos`, `frames` and `features`, only its current rows.

        Raises:
            InputError: the table is unknown, or does not exist yet.
        """
        if name not in TABLES:
            raise InputError(f"there is no table '{name}': choose one of {', '.join(TABLES)}")
        tables = self._tables()
        if name in ("frames", "features"):
            return tables.current(name)
        rows = tables.read(name)
        return tables.ledger() if name == "videos" else rows

    def open_sql(self) -> SparkSession:
        """Registers the tables and the views of docs/reference/tables.md as temporary views of this session.

        They end with the session, and need no catalog.

        Returns:
            The session, to query: `run.open_sql().sql("select * from top_incidents")`.

        Raises:
            InputError: the output has not been ranked yet.
        """
        for name in TABLES:
            if name not in _OPTIONAL or self._tables().exists(name):
                self.table(name).createOrReplaceTempView(name)
        for name, select in views.selects({name: name for name in _NARROW}).items():
            self.spark.sql(select).createOrReplaceTempView(name)
        return self.spark

    def _tables(self) -> Tables:
        return Tables(self.spark, self.config.output, cast(Format, self.config.tables.format))

    def _call(self, stage: str) -> None:
        with stages.start(self.config, stage) as run:
            getattr(stages, stage)(run)


def open_run(*, output: str = "", catalog: str = "", settings: str = "") -> NotebookRun:
    """Opens a run on sample videos: the CAVIAR clips on Databricks, elsewhere synthetic videos.

    Draws the synthetic videos if they are missing. On Databricks, job parameters or widgets with the names of
    the arguments override them.

    Args:
        output: directory of the tables; by default `out/notebooks`, on Databricks
            `/Volumes/main/framewatch/data/notebooks`.
        catalog: catalog and schema, `main.framewatch`, in which `rank` also saves its tables.
        settings: `key=value` overrides, separated by spaces: `"sampling.fps=2 classifier.max_iter=50"`. A
            setting of `videos.*` replaces the sample videos.

    Raises:
        ConfigError: a setting is not valid.
        InputError: an argument is not valid.
        SetupError: the session cannot be started.
    """
    asked = {"output": output, "catalog": catalog, "settings": settings}
    config = notebook_config(**(asked | {key: value for key, value in _widgets().items() if key in asked}))
    access.set_access(config.files.access)
    spark = get_spark(
        master=config.spark.master,
        remote=config.spark.remote,
        app_name=config.spark.app_name,
        conf=config.spark.conf,
    )
    # Prints plain text, which wraps; rich would output each line as a block of HTML that is truncated.
    terminal.console.is_jupyter = terminal.stderr.is_jupyter = False
    if config.videos.train == [f"{_SAMPLES}/train"]:
        with terminal.counted_progress("samples", "clips") as show:
            draw_samples(_SAMPLES, on_clip=lambda _, done, total: show(done, total))
    videos = ", ".join([*config.videos.train, *config.videos.test])
    terminal.print_line(f"Spark {spark.version}; videos: {videos or 'none'}; output: {config.output}")
    return NotebookRun(spark, config)


def notebook_config(*, output: str = "", catalog: str = "", settings: str = "") -> Config:
    """Returns the configuration for the arguments of `open_run`."""
    try:
        own = shlex.split(settings)
    except ValueError as error:
        raise InputError(
            f"settings={settings} cannot be split ({error}): close the quotation mark"
        ) from error
    databricks = "DATABRICKS_RUNTIME_VERSION" in os.environ
    defaults = [*_EVERYWHERE, *(() if databricks else _LOCAL)]
    if not any(text.startswith("videos.") for text in own):
        defaults += _ON_DATABRICKS if databricks else _HERE
    overrides = [f"output={output or (_DATABRICKS_OUTPUT if databricks else _OUTPUT)}", *_catalog(catalog)]
    return load_config(None, [*defaults, *overrides, *own])


def frames_per_second(transformer: Transformer, frames: DataFrame) -> float:
    """Measures the speed of a featurizer, in pictures per second, on a second pass after loading.

    Args:
        transformer: `DeepImageFeaturizer`, or another transformer with an `outputCol`.
        frames: its input; use at least one partition per core.
    """
    name: str = transformer.getOrDefault("outputCol")
    done = transformer.transform(frames).where(F.col(name).isNotNull())
    done.count()
    started = time.monotonic()
    return done.count() / (time.monotonic() - started)


def _catalog(name: str) -> list[str]:
    # Without a catalog, a notebook reads the tables through `open_sql`.
    if not name:
        return ["catalog.enabled=false"]
    parts = name.split(".")
    if len(parts) != 2 or not all(parts):
        raise InputError(f"catalog={name}: give a catalog and a schema, such as main.framewatch")
    return [f"catalog.name={parts[0]}", f"catalog.database={parts[1]}"]


def _widgets() -> dict[str, str]:
    """Returns the values of Databricks widgets and job parameters by name."""
    dbutils: Any = notebook_names().get("dbutils")
    return {} if dbutils is None else dict(dbutils.widgets.getAll())
