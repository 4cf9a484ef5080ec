"""One run at a time on one output: a run that was suspended for longer than its lease, and wakes up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FAST_OVERRIDES, ROOT, contents

from framewatch.cli.main import main
from framewatch.errors import InputError, LockLostError
from framewatch.io import storage
from framewatch.io.locks import Lease, exclusive_lock
from framewatch.tables.spark_tables import Tables

LEASE_S = 3.0
LEASED = ["lock.kind=lease", f"lock.lease_s={LEASE_S:g}", "extract.videos_per_batch=2"]


def files(output: Path) -> set[Path]:
    """What may count: all but what is being written, and the leases."""
    found = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    return {path for path in found if path.parts[0] not in ("_staging", ".leases")}


@pytest.fixture
def suspended(clips: Path, tmp_path: Path, request) -> Iterator[subprocess.Popen]:
    """A run with all of its processes, suspended as soon as a step, `request.param`, begins to write."""
    output = tmp_path / "out"
    command = [sys.executable, "-m", "framewatch.cli", "extract", f"videos.train={clips}/train"]
    process = subprocess.Popen(
        [*command, f"output={output}", *LEASED, *FAST_OVERRIDES, "spark.master=local[2]"],
        cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not list(output.glob(request.param)) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGSTOP)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    "suspended",
    ["_staging/*/extract_0/_temporary", "_staging/*/_written/_temporary", "frames/batch=0"],
    indirect=True,
)
def test_a_run_that_wakes_up_after_another_took_over_writes_nothing_that_counts(
    spark, suspended: subprocess.Popen, clips: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    time.sleep(LEASE_S + 0.1)
    assert main(["extract", f"videos.train={clips}/train", f"output={output}", *LEASED]) == 0
    found, written = contents(spark, output), files(output)
    assert len(found["frames"]) == 12
    os.killpg(suspended.pid, signal.SIGCONT)
    _, stderr = suspended.communicate()
    assert suspended.returncode == 2
    last = stderr.splitlines()[-1]
    assert last.startswith(f"error: output={output} was taken over by another run (extract, process ")
    assert "Traceback" not in stderr
    assert contents(spark, output) == found
    assert files(output) == written


def test_a_run_that_lost_its_lease_neither_writes_nor_removes(spark, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    output = f"{tmp_path}/out"
    tables = Tables(spark, output)
    with (
        pytest.raises(LockLostError, match=r"taken over by another run \(the other\)"),
        exclusive_lock(output, "extract", kind="lease", lease_s=60),
    ):
        tables.write_ledger([{"video": "a"}], 0)
        with pytest.raises(InputError, match="in use by another run"):
            Lease(output, "the other", 60).acquire()
        Lease(output, "the other", 0).acquire()  # to whom this one seems dead
        before = files(tmp_path / "out")
        for act in (
            lambda: tables.write_ledger([{"video": "b"}], 0),
            lambda: tables.stage(tables.read("videos"), "extract"),
            lambda: tables.delete("videos"),
            lambda: storage.write_json(f"{output}/ranking.json", {}),
            lambda: storage.delete(f"{output}/videos/batch=0"),
        ):
            with pytest.raises(LockLostError):
                act()
        storage.write_json(f"{tmp_path}/elsewhere/ranking.json", {})
        assert files(tmp_path / "out") == before
    storage.write_json(f"{output}/ranking.json", {})  # the fence goes with the run


def test_numbers_rise_over_all_runs(tmp_path: Path) -> None:
    """Also after a clean end, as an older run may be asleep all the while."""
    for number in (1, 2, 3):
        with exclusive_lock(str(tmp_path), "extract", kind="lease"):
            assert storage.fence_of(f"{tmp_path}/frames").number == number
    assert storage.fence_of(f"{tmp_path}/frames") is None
