"""spark-submit jobs/train_classifier.py --config FILE [key=value ...]: the same as `framewatch train`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("train")
