"""spark-submit jobs/index_frames.py OUTPUT [index.uri=http://HOST:19530]: the same as `framewatch index`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Not sys.exit(0): Databricks takes any SystemExit for a failure.
    if code := main(["index", *sys.argv[1:]]):
        sys.exit(code)
