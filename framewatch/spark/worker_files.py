"""Finds files of the driver on a worker. Light to import, for workers that decode video."""

import os

from pyspark import SparkFiles


def find_on_worker(path: str) -> str:
    """Returns the path of a driver's file on this worker: the same path, or one of the session's files."""
    return path if os.path.isfile(path) else SparkFiles.get(os.path.basename(path))
