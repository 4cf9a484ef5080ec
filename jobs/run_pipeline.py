"""spark-submit jobs/run_pipeline.py --config FILE [key=value ...]: the same as `framewatch run`."""

import sys

from framewatch.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
