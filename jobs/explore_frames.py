"""spark-submit jobs/explore_frames.py OUTPUT [key=value ...]: the same as `framewatch explore`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("explore")
