"""spark-submit jobs/featurize_frames.py --config FILE [key=value ...]: the same as `framewatch featurize`."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    # Not sys.exit(0): Databricks takes any SystemExit for a failure.
    if code := main(["featurize", *sys.argv[1:]]):
        sys.exit(code)
