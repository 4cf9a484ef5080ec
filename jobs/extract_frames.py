"""spark-submit jobs/extract_frames.py --config FILE [key=value ...]: the same as `framewatch extract`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("extract")
