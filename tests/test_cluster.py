"""A standalone cluster on loopback: shipped code, killed executors, and a driver that stays small."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import FAST_JAVA, FAST_START, ROOT, contents

from framewatch.cli.main import main
from framewatch.tables.spark_tables import Tables

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes and their memory in /proc"),
]

JOB = ROOT / "jobs" / "run_pipeline.py"
BIN = Path(sys.executable).parent
# A driver that collected frames, or features, would end with an error: they are many times this.
MOST_RESULTS = "1m"


@dataclass
class Cluster:
    """A master's address, and its workers' process numbers."""

    address: str
    workers: list[int]


def spark_class(*arguments: str, log: Path) -> subprocess.Popen:
    with log.open("w") as out:
        return subprocess.Popen(
            [BIN / "spark-class", *arguments], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def wait_for(pattern: str, log: Path, process: subprocess.Popen) -> re.Match:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(pattern, log.read_text()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} in {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and two workers of one core each."""
    directory = tmp_path_factory.mktemp("cluster")
    package = "org.apache.spark.deploy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_DAEMON_JAVA_OPTS", FAST_JAVA)
        patch.setenv("SPARK_DAEMON_MEMORY", "256m")
        log = directory / "master.log"
        options = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        processes = [spark_class(f"{package}.master.Master", *options, log=log)]
        try:
            address = wait_for(r"spark://127\.0\.0\.1:\d+", log, processes[0]).group()
            for number in (1, 2):
                log = directory / f"worker{number}.log"
                options = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g"]
                options += ["--work-dir", str(directory / f"work{number}"), address]
                processes.append(spark_class(f"{package}.worker.Worker", *options, log=log))
                wait_for("Successfully registered with master", log, processes[-1])
            yield Cluster(address, [process.pid for process in processes[1:]])
        finally:
            for process in reversed(processes):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(300)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What docs/how-to/cluster.md ships: the wheel, named .zip, and an environment packed by venv-pack.

    The environment is a small one, which finds all but framewatch in that of the tests.
    """
    directory = tmp_path_factory.mktemp("shipped")
    source = shutil.copytree(
        ROOT, directory / "source", ignore=shutil.ignore_patterns(".*", "build", "out", "*.egg-info")
    )
    wheel = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(directory),
        str(source),
    ]
    subprocess.run([sys.executable, "-m", "pip", *wheel], check=True)
    code = next(directory.glob("*.whl")).rename(directory / "framewatch.zip")
    venv.create(directory / "env", with_pip=False)
    site = next((directory / "env" / "lib").glob("python3*/site-packages"))
    (site / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({np.__path__[0].rsplit('/', 1)[0]!r})\n"
    )
    archive = directory / "env.tar.gz"
    subprocess.run([BIN / "venv-pack", "-q", "-p", directory / "env", "-o", archive], check=True)
    return code, archive


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> list[str]:
    """A run over noise, whose JPEGs and features are many times `MOST_RESULTS`."""
    root = tmp_path_factory.mktemp("noise")
    names = ("train/a.mpg", "train/b.mpg", "test/c.mpg")
    for seed, name in enumerate(names):
        write_noise(root / name, seed=seed, seconds=24)
    labels = "".join(f"{Path(n).name},0,12,0\n{Path(n).name},12,24,1\n" for n in names[:2])
    (root / "labels.csv").write_text("video,start_s,end_s,label\n" + labels)
    return [
        f"videos.train={root}/train",
        f"videos.test={root}/test",
        f"labels.train={root}/labels.csv",
        f"featurizer.model={model_file}",
        "featurizer.layer=early",
        "featurizer.pooling=none",
        "frames.keep=full",
        "featurizer.precision=float32",
        "featurizer.frames_per_task=12",
        "extract.chunk_s=6",
        "classifier.max_iter=3",
        "evaluation.folds=0",
        "catalog.enabled=false",
        "ranking.show=0",
    ]


def write_noise(path: Path, *, seed: int, seconds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 480, 360, "yuv420p", 40_000_000
        for _ in range(seconds):
            picture = noise.integers(0, 256, (360, 480, 3), np.uint8)
            for _ in range(25):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def children(parent: int) -> list[int]:
    """Processes that `parent` has started, by number."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name of a program, in parentheses, may hold spaces.
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def executors(cluster: Cluster) -> list[int]:
    """Those that run: a worker's other children are what its start script left, dead and unreaped."""
    found = []
    for pid in (pid for worker in cluster.workers for pid in children(worker)):
        with contextlib.suppress(OSError):
            if b"CoarseGrainedExecutorBackend" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def peak_kb(process: subprocess.Popen) -> int:
    """Most memory that the driver's Python has used so far."""
    family = [process.pid]
    for pid in family:
        family += children(pid)
        with contextlib.suppress(OSError, AttributeError):
            if (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")[1:2] == [str(JOB)]:
                return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))
    return 0


def submit(
    cluster: Cluster, shipped: tuple[Path, Path], arguments: list[str], output: Path
) -> subprocess.Popen:
    code, environment = shipped
    conf = {
        **FAST_START,
        "spark.executor.extraJavaOptions": FAST_JAVA,
        "spark.driver.maxResultSize": MOST_RESULTS,
    }
    command = [BIN / "spark-submit", "--master", cluster.address, "--driver-memory", "512m"]
    command += ["--executor-memory", "700m", *(f"--conf={key}={value}" for key, value in conf.items())]
    command += ["--py-files", code, "--archives", f"{environment}#env"]
    command += [JOB, "--config", ROOT / "conf" / "cluster.yaml", *arguments]
    env = {
        **os.environ,
        "PYSPARK_PYTHON": "./env/bin/python",
        "PYSPARK_DRIVER_PYTHON": str(environment.parent / "env" / "bin" / "python"),
    }
    log = (output.parent / "submit.log").open("w")
    with log:
        return subprocess.Popen(
            [*command, "featurizer.weights=imagenet", f"output={output}"],
            cwd=output.parent, env=env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def test_a_submitted_job_with_killed_executors(spark, cluster, shipped, arguments, tmp_path: Path) -> None:
    """One executor dies while extracting, one while featurizing, and the tables equal local[2]'s."""
    assert main(["run", "--debug", *arguments, f"output={tmp_path}/local"]) == 0
    output = tmp_path / "out"
    process = submit(cluster, shipped, arguments, output)
    log, most_kb, killed = tmp_path / "submit.log", 0, []
    points = [output / "_staging/extract_0/_temporary", output / "features/batch=0/_temporary"]
    while process.poll() is None:
        most_kb = max(most_kb, peak_kb(process))
        if points and points[0].exists():
            del points[0]
            killed.append(executors(cluster)[-1])
            os.kill(killed[-1], signal.SIGKILL)
        time.sleep(0.1)
    said = log.read_text()
    assert process.returncode == 0, said[-3000:]
    assert len(set(killed)) == 2 and len(re.findall("Lost executor", said)) >= 2
    assert contents(spark, output) == contents(spark, tmp_path / "local")
    rows = Tables(spark, str(output)).read("features").select("features").collect()
    features = sum(len(row["features"]) * 4 for row in rows)
    frames = sum(path.stat().st_size for path in (output / "frames").rglob("*.parquet"))
    assert min(frames, 2 * features) > 3 << 20, "too little to tell whether the driver collects it"
    assert 0 < most_kb < 500_000
    assert (output / "report" / "index.html").is_file()
