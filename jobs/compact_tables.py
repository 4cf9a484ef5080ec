"""spark-submit jobs/compact_tables.py OUTPUT [key=value ...]: the same as `framewatch compact`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("compact")
