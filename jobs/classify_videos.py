"""spark-submit jobs/classify_videos.py OUTPUT --classes FILE: the same as `framewatch classify`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("classify")
