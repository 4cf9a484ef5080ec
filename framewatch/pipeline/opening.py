"""Opens a call of a stage: lock, tracking, session, and the manifest at its end."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from framewatch.config import Config
from framewatch.io import storage
from framewatch.io.locks import exclusive_lock
from framewatch.pipeline.run import Run, metastore_directory
from framewatch.pipeline.tracking import Finish, tracked
from framewatch.spark.java_errors import explained
from framewatch.spark.session import get_spark
from framewatch.tables import catalog

# The other stages register no tables, so they skip the metastore, which takes seconds to start.
_STAGES_WITH_SQL = ("rank", "run", "watch", "classify", "explore")


@contextlib.contextmanager
def opened(config: Config, stage: str, *, debug: bool = False) -> Iterator[Run]:
    """Opens a session for one call of `stage`; writes the call's manifest at the end, even after an error."""
    storage.require_writable(config.output)
    lock = exclusive_lock(config.output, stage, **asdict(config.lock))
    with explained(), lock, tracked(config, stage) as log:
        yield from _run(config, stage, debug, log)


def _run(config: Config, stage: str, debug: bool, log: Finish) -> Iterator[Run]:
    metastore = metastore_directory(config) if stage in _STAGES_WITH_SQL else None
    run = Run(_session(config, metastore, debug), config)
    run.tables.require_format()
    if metastore is not None:
        catalog.require_free(run.spark, metastore)  # fails now rather than after hours of decoding
    started = datetime.now(UTC)
    try:
        yield run
    except BaseException:
        # Raises the error of a lost lock, whatever failed because of it.
        run.write_manifest(stage, started, "failed")
        raise
    log(run, run.write_manifest(stage, started, "ok"))


def _session(config: Config, metastore: str | None, debug: bool) -> SparkSession:
    return get_spark(
        master=config.spark.master,
        remote=config.spark.remote,
        app_name=config.spark.app_name,
        conf=config.spark.conf,
        metastore=metastore,
        debug=debug,
    )
