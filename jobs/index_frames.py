"""spark-submit jobs/index_frames.py OUTPUT [index.uri=http://HOST:19530]: the same as `framewatch index`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("index")
