"""spark-submit jobs/run_pipeline.py --config FILE [key=value ...]: the same as `framewatch run`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("run")
