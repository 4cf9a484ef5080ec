"""spark-submit jobs/featurize_frames.py --config FILE [key=value ...]: the same as `framewatch featurize`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("featurize")
