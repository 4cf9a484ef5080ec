"""spark-submit jobs/rank_frames.py --config FILE [key=value ...]: the same as `framewatch rank`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("rank")
