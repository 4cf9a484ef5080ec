"""`framewatch ingest` with thumbnails. Prints one JSON line, with the seconds of the closing line.

Run by ../peers.py.
"""

import importlib.metadata
import json
import re
import subprocess
import sys

import framewatch


def main() -> None:
    """Reads the job, runs it and prints."""
    job = json.loads(sys.argv[1])
    command = [sys.executable, "-m", "framewatch.cli", "ingest"]
    command += [
        f"videos.train={job['videos']}",
        f"output={job['output']}",
        f"featurizer.weights={job['weights_name']}",
        "featurizer.engine=openvino",
        f"featurizer.precision={job['precision']}",
        "frames.keep=thumbnails",
        f"spark.master=local[{job['cores']}]",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("ingest:")), "")
    seconds = re.search(r"in (\d+\.\d+) s", line)
    if done.returncode or not seconds:
        sys.exit(done.stderr or done.stdout)
    versions = {name: importlib.metadata.version(name) for name in ("pyspark", "openvino", "av")}
    versions = {"framewatch": framewatch.__version__, **versions}
    print(json.dumps({"seconds": float(seconds.group(1)), "versions": versions}))


if __name__ == "__main__":
    main()
