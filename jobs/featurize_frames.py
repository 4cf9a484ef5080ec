"""spark-submit jobs/featurize_frames.py --config FILE [key=value ...]: the same as `framewatch featurize`."""

import sys

from framewatch.cli import main

if __name__ == "__main__":
    sys.exit(main(["featurize", *sys.argv[1:]]))
