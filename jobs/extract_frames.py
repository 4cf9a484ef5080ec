"""spark-submit jobs/extract_frames.py --config FILE [key=value ...]: the same as `framewatch extract`."""

import sys

from framewatch.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))
