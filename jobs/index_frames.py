"""spark-submit jobs/index_frames.py OUTPUT [index.uri=http://HOST:19530]: the same as `framewatch index`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Only exits on failure, because Databricks treats any SystemExit as a failure, even sys.exit(0).
    if code := main(["index", *sys.argv[1:]]):
        sys.exit(code)
