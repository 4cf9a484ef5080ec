"""spark-submit jobs/classify_videos.py OUTPUT --classes FILE: the same as `framewatch classify`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Not sys.exit(0): Databricks takes any SystemExit for a failure.
    if code := main(["classify", *sys.argv[1:]]):
        sys.exit(code)
