"""spark-submit jobs/ingest_videos.py --config FILE [key=value ...]: the same as `framewatch ingest`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("ingest")
