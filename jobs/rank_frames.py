"""spark-submit jobs/rank_frames.py --config FILE [key=value ...]: the same as `framewatch rank`."""

import sys

from framewatch.cli import main

if __name__ == "__main__":
    sys.exit(main(["rank", *sys.argv[1:]]))
