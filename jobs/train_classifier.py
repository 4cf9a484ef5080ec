"""spark-submit jobs/train_classifier.py --config FILE [key=value ...]: the same as `framewatch train`."""

import sys

from framewatch.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
