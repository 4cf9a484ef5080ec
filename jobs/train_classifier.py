"""spark-submit jobs/train_classifier.py --config FILE [key=value ...]: the same as `framewatch train`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Only exits on failure, because Databricks treats any SystemExit as a failure, even sys.exit(0).
    if code := main(["train", *sys.argv[1:]]):
        sys.exit(code)
