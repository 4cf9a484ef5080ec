"""Opens a call of a stage: lock, tracking, session, and the manifest at its end."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from framewatch.config import Config
from framewatch.io import storage
from framewatch.io.locks import exclusive_lock
from framewatch.pipeline.run import Run
from framewatch.pipeline.tracking import Finish, tracked
from framewatch.spark.java_errors import explained
from framewatch.spark.session import get_spark

# Spark compiles each stage of a query to Java, which takes longer than running it on this many frames.
_FEW_FRAMES = 200_000
_COMPILED = "spark.sql.codegen.wholeStage"
# Their sessions load most of the classes that any session does.
_ARCHIVING_STAGES = ("run", "train")


@contextlib.contextmanager
def opened(config: Config, stage: str, *, debug: bool = False) -> Iterator[Run]:
    """Opens a session for one call of `stage`; writes the call's manifest at the end, even after an error."""
    storage.require_writable(config.output)
    lock = exclusive_lock(config.output, stage, **asdict(config.lock))
    with explained(), lock, tracked(config, stage) as log:
        yield from _run(config, stage, debug, log)


def _run(config: Config, stage: str, debug: bool, log: Finish) -> Iterator[Run]:
    is_ours = SparkSession.getActiveSession() is None
    run = Run(_session(config, stage, debug), config, is_ours=is_ours)
    run.tables.require_format()
    if is_ours and _COMPILED not in config.spark.conf and config.tables.format == "parquet":
        is_small = sum(run.tables.batches().num_frames.values()) < _FEW_FRAMES
        run.spark.conf.set(_COMPILED, str(not is_small).lower())
    started = datetime.now(UTC)
    try:
        yield run
    except BaseException:
        # Raises the error of a lost lock, whatever failed because of it.
        run.write_manifest(stage, started, "failed")
        raise
    log(run, run.write_manifest(stage, started, "ok"))


def _session(config: Config, stage: str, debug: bool) -> SparkSession:
    return get_spark(
        master=config.spark.master,
        remote=config.spark.remote,
        app_name=config.spark.app_name,
        conf=config.spark.conf,
        debug=debug,
        archive_classes=stage in _ARCHIVING_STAGES,
    )
