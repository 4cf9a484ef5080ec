"""spark-submit jobs/classify_videos.py OUTPUT --classes FILE: the same as `framewatch classify`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Only exits on failure, because Databricks treats any SystemExit as a failure, even sys.exit(0).
    if code := main(["classify", *sys.argv[1:]]):
        sys.exit(code)
