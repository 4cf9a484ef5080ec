"""Jobs of several threads in one Spark session: pools, and cancelling by tag."""

import contextlib
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession

_POOL = "spark.scheduler.pool"


@contextlib.contextmanager
def own_pool(spark: SparkSession, name: str) -> Iterator[None]:
    """Context in which jobs of this thread get cores before the waiting tasks of other jobs.

    This needs `spark.scheduler.mode=FAIR`, which `get_spark` sets. With FIFO, and in Spark Connect, the jobs
    wait until all tasks of earlier jobs have started.
    """
    context = _context(spark)
    if context is None:
        yield
        return
    before = context.getLocalProperty(_POOL)
    context.setLocalProperty(_POOL, name)
    try:
        yield
    finally:
        context.setLocalProperty(_POOL, before)


def add_tag(spark: SparkSession, tag: str) -> None:
    """Tags the jobs that this thread starts from now on, for `cancel`."""
    context = _context(spark)
    if context is not None:
        context.addJobTag(tag)
    else:
        spark.addTag(tag)


def cancel(spark: SparkSession, tag: str) -> None:
    """Cancels the running jobs with a tag."""
    with contextlib.suppress(Exception):  # the session may be what failed
        context = _context(spark)
        if context is not None:
            context.cancelJobsWithTag(tag)
        else:
            spark.interruptTag(tag)


def _context(spark: SparkSession) -> Any:
    try:
        return spark.sparkContext
    except Exception:  # Spark Connect has none
        return None
