"""spark-submit jobs/explore_frames.py OUTPUT [key=value ...]: the same as `framewatch explore`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Not sys.exit(0): Databricks takes any SystemExit for a failure.
    if code := main(["explore", *sys.argv[1:]]):
        sys.exit(code)
