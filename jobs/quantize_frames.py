"""spark-submit jobs/quantize_frames.py --config FILE [key=value ...]: the same as `framewatch quantize`."""

from framewatch.cli.main import job

if __name__ == "__main__":
    job("quantize")
