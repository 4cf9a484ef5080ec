"""A run for a notebook: each stage is one call, and between the calls the output is free for others.

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
from framewatch.search.query import Kind, Part
from framewatch.search.searcher import Wanted
from framewatch.spark.session import get_spark
from framewatch.tables import views
from framewatch.tables.layout import Format
from framewatch.tables.spark_tables import TABLES, Tables

_SAMPLES = "out/samples"
_DATABRICKS_VIDEOS = "dbfs:/databricks-datasets/cctvVideos"
# Where the data lies, and what else conf/demo.yaml and conf/databricks.yaml say of such a machine.
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
# Notebooks show the top of the ranking as pictures.
_EVERYWHERE = ("ranking.show=0",)
_OUTPUT = "out/notebooks"
_DATABRICKS_OUTPUT = "/Volumes/main/framewatch/data/notebooks"
# Those without pictures and vectors, which the views are made of.
_NARROW = ("predictions", "incidents", "videos")
# The columns of what a search gives.
_HIT = {
    "rank": "int", "score": "double", "video": "string", "start_s": "double", "end_s": "double",
    "peak_s": "double", "origin": "string", "scope": "string", "probability": "double", "label": "int",
}  # fmt: skip
# Those that a ranking does without.
_OPTIONAL = ("classifications", "class_clips", "clusters", "cluster_frames", "cluster_times", "outliers")


@dataclass(frozen=True)
class NotebookRun:
    """The stages on one output, and its tables.

    Attributes:
        spark: the session.
        config: what the stages are configured with.
    """

    spark: SparkSession
    config: Config

    def extract(self) -> None:
        """Videos -> `frames` and the ledger `videos`; what is there is not read again."""
        self._call("extract")

    def featurize(self) -> None:
        """`frames` -> `features`, where they are missing."""
        self._call("featurize")

    def train(self) -> None:
        """`features` and labels -> the classifier, and what it is worth on left-out videos."""
        self._call("train")

    def rank(self) -> None:
        """`features` and the classifier -> `predictions`, `incidents` and the report."""
        self._call("rank")

    def classify_by_examples(
        self,
        examples: Mapping[str, Sequence[str]],
        *,
        threshold: float = 75.0,
        min_duration_ratio: float = 0.5,
    ) -> None:
        """`features` and frames that show a class -> `classifications` and `class_clips`.

        Args:
            examples: by class, names of frames, such as `Fight1frame0012.jpg`.
            threshold: a frame matches at this score, 0 to 100, or above.
            min_duration_ratio: a video is given a class where its clips cover this share of it.

        Raises:
            InputError: a frame is not there, or has no features.
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
        """`features` -> the index of moments, brought up to date."""
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
        """The moments most like all of these together, as the view `similar` too.

        Args:
            frames: names of frames, each perhaps with a weight, `NAME*WEIGHT`.
            clips: `VIDEO@FROM-TO`, in seconds.
            images: files.
            texts: where the features are of a CLIP.
            limit: how many.
            by_video: one a video, its best.

        Returns:
            `rank`, `score`, `video`, `start_s`, `end_s`, `peak_s`, `origin`, `scope`, `probability`, `label`.

        Raises:
            InputError: nothing is looked for, it cannot be, or there is no index.
        """
        kinds: tuple[tuple[Kind, Sequence[str]], ...] = (
            ("frame", frames), ("image", images), ("clip", clips), ("text", texts)
        )  # fmt: skip
        parts = [Part.parse(kind, text) for kind, its in kinds for text in its]
        wanted = Wanted(limit, by_video=by_video, gap_s=self.config.index.gap_s)
        rows = rendering.as_json(stages.search(self.config, parts, wanted))["data"]
        found = self.spark.createDataFrame(
            [tuple(row[name] for name in _HIT) for row in rows],
            ", ".join(f"{name} {kind}" for name, kind in _HIT.items()),
        )
        found.createOrReplaceTempView("similar")
        return found

    def similarity(self, frame: str, video: str) -> DataFrame:
        """How similar each second of a video is to a frame: `timestamp_s`, `score`.

        Raises:
            InputError: there is no such frame or video.
        """
        _, times_s, values = stages.similarity(self.config, [Part.parse("frame", frame)], video)
        rows = list(zip(times_s.tolist(), values.tolist(), strict=True))
        return self.spark.createDataFrame(rows, "timestamp_s double, score double")

    def table(self, name: str) -> DataFrame:
        """A table of the output; of `videos`, `frames` and `features`, the rows that count.

        Raises:
            InputError: there is no such table, or not yet; says what writes it.
        """
        if name not in TABLES:
            raise InputError(f"there is no table '{name}': choose one of {', '.join(TABLES)}")
        tables = self._tables()
        if name in ("frames", "features"):
            return tables.current(name)
        rows = tables.read(name)
        return tables.ledger() if name == "videos" else rows

    def open_sql(self) -> SparkSession:
        """Makes the tables and views of docs/reference/tables.md known to this session's SQL by their names.

        They are views of the session, so that an open notebook keeps no metastore from others.

        Returns:
            The session, to query: `run.open_sql().sql("select * from top_incidents")`.

        Raises:
            InputError: nothing has been ranked yet.
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
    """Opens a run on the sample videos of the place: Databricks' CAVIAR clips, elsewhere drawn ones.

    The latter are drawn if they are not there. On Databricks, a job's parameters, or widgets, of the
    arguments' names take their place.

    Args:
        output: directory of the tables; without it `out/notebooks`, on Databricks
            `/Volumes/main/framewatch/data/notebooks`.
        catalog: catalog and schema, `main.framewatch`, in which `rank` saves its tables as well.
        settings: `key=value` overrides, parted by blanks: `"sampling.fps=2 classifier.max_iter=50"`. With
            one of `videos.*` no samples are taken.

    Raises:
        ConfigError, InputError: an argument that is not valid.
        SetupError: no session can be had.
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
    # What the stages tell is text, and wrapped; rich would make each line a block of HTML that is cut off.
    terminal.console.is_jupyter = terminal.stderr.is_jupyter = False
    if config.videos.train == [f"{_SAMPLES}/train"]:
        with terminal.counted_progress("samples", "clips") as show:
            draw_samples(_SAMPLES, on_clip=lambda _, done, total: show(done, total))
    videos = ", ".join([*config.videos.train, *config.videos.test])
    terminal.print_line(f"Spark {spark.version}; videos: {videos or 'none'}; output: {config.output}")
    return NotebookRun(spark, config)


def notebook_config(*, output: str = "", catalog: str = "", settings: str = "") -> Config:
    """The configuration of `open_run`, whose arguments these are."""
    try:
        own = shlex.split(settings)
    except ValueError as error:
        raise InputError(f"settings={settings} cannot be split ({error}): close the quotation") from error
    databricks = "DATABRICKS_RUNTIME_VERSION" in os.environ
    defaults = [*_EVERYWHERE, *(() if databricks else _LOCAL)]
    if not any(text.startswith("videos.") for text in own):
        defaults += _ON_DATABRICKS if databricks else _HERE
    places = [f"output={output or (_DATABRICKS_OUTPUT if databricks else _OUTPUT)}", *_catalog(catalog)]
    return load_config(None, [*defaults, *places, *own])


def frames_per_second(transformer: Transformer, frames: DataFrame) -> float:
    """How many pictures a second a featurizer takes: of a second pass, as the first loads the network.

    Args:
        transformer: `DeepImageFeaturizer`, or another with an `outputCol`.
        frames: its input; as many partitions as there are cores keep all of them busy.
    """
    name: str = transformer.getOrDefault("outputCol")
    done = transformer.transform(frames).where(F.col(name).isNotNull())
    done.count()
    started = time.monotonic()
    return done.count() / (time.monotonic() - started)


def _catalog(name: str) -> list[str]:
    # Without one, `rank` would make an embedded metastore, which serves one session at a time.
    if not name:
        return ["catalog.enabled=false"]
    parts = name.split(".")
    if len(parts) != 2 or not all(parts):
        raise InputError(f"catalog={name}: give a catalog and a schema, such as main.framewatch")
    return [f"catalog.name={parts[0]}", f"catalog.database={parts[1]}"]


def _widgets() -> dict[str, str]:
    """What Databricks' widgets and the parameters of a job say, by name."""
    dbutils: Any = notebook_names().get("dbutils")
    return {} if dbutils is None else dict(dbutils.widgets.getAll())
