"""spark-submit jobs/quantize_frames.py --config FILE [key=value ...]: the same as `framewatch quantize`."""

import sys

from framewatch.cli import main

if __name__ == "__main__":
    sys.exit(main(["quantize", *sys.argv[1:]]))
