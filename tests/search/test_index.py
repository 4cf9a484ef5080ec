"""`framewatch index` into real collections of Milvus Lite: a file, and a server of it on loopback."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arrow_run import origin_of, write_batch, write_labelled, write_ranking
from conftest import FAST_OVERRIDES, ROOT

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.search.milvus_client import Place, default_place, retried
from framewatch.search.moment_store import open_store

pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")
from pymilvus import MilvusClient

LENGTH = 16
NORTH, SOUTH = "file:/north/a.mp4", 'file:/south/it\'s "b" é.mp4'
IDENTITY = {"model": "own", "weights_sha256": "1" * 64, "pooling": "avg", "resize": "area"}


def vectors(seed: int, count: int) -> list[list[float]]:
    return np.random.default_rng(seed).random((count, LENGTH)).tolist()


def contents(output: Path) -> dict[str, tuple]:
    """Every moment of the collection by its origin, without the vectors' last digits."""
    found = {}
    with open_store(default_place(str(output), None, "framewatch")) as store:
        fields = [
            "origin",
            "video",
            "camera",
            "timestamp_s",
            "end_s",
            "scope",
            "probability",
            "label",
            "still",
        ]
        for row in store._client.query(
            "framewatch", filter="", output_fields=[*fields, "vector"], limit=16384
        ):
            rounded = tuple(round(float(value), 5) for value in row["vector"])
            found[row["origin"]] = (*(row[name] for name in fields), rounded)
        assert len(found) == store.count()
    return found


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    write_batch(path, 0, {NORTH: vectors(1, 12), SOUTH: [*vectors(2, 7), None]}, IDENTITY)
    return path


def index(output: Path, *options: str) -> int:
    return main(["index", str(output), *options])


def test_every_frame_and_clip_with_what_is_known_of_it(output: Path, capsys) -> None:
    write_ranking(output, {(NORTH, 3): 0.75})
    write_labelled(output, {(NORTH, 3): 0.0, (NORTH, 4): 0.0})
    log = VerdictLog(str(output))
    log.append(Verdict(video=NORTH, start_s=4, end_s=5, answer="suspicious", reviewer="ann"))
    assert index(output, "index.scenes=0") == 0
    said = capsys.readouterr().out
    # 12 and 7 frames, and clips of 6 s: from 0, 3, 6 s and from 0, 3 s.
    assert re.search(r"2 videos written \(24 moments\), 0 dropped, 0 as they were: 24 moments in", said)
    found = contents(output)
    assert sum(row[5] == "clip" for row in found.values()) == 5
    at_3, at_4, clip = (
        found[origin_of(NORTH, 3)], found[origin_of(NORTH, 4)], found[origin_of(NORTH, 3) + "+6s"],
    )  # fmt: skip
    assert at_3[1:8] == (NORTH, "file:/north", 3.0, 4.0, "frame", 0.75, 0)
    assert at_4[6:8] == (None, 1), "a verdict counts more than a label"
    assert clip[3:8] == (3.0, 9.0, "clip", 0.75, 1)
    wanted = np.array(vectors(1, 12)[3])
    np.testing.assert_allclose(at_3[-1], wanted / np.linalg.norm(wanted), atol=1e-5)
    assert origin_of(SOUTH, 7) not in found, "its picture is damaged"


def test_again_it_does_only_what_is_new_or_changed_or_gone(output: Path, capsys) -> None:
    assert index(output) == 0
    before = contents(output)
    assert index(output) == 0
    assert "0 videos written (0 moments), 0 dropped, 2 as they were" in capsys.readouterr().out
    write_batch(output, 1, {NORTH: vectors(3, 5), "file:/north/c.mp4": vectors(4, 3)}, IDENTITY)
    assert index(output) == 0
    # 5 and 3 frames, each with the clip of all of them.
    assert "2 videos written (10 moments), 0 dropped, 1 as they were" in capsys.readouterr().out
    after = contents(output)
    assert {row[1] for row in after.values()} == {NORTH, SOUTH, "file:/north/c.mp4"}
    assert origin_of(NORTH, 0) not in after and origin_of(NORTH, 0, 1) in after
    assert all(after[it] == row for it, row in before.items() if row[1] == SOUTH)
    shutil.rmtree(output / "videos" / "batch=1")  # as if the run that wrote it had never ended
    shutil.rmtree(output / "features" / "batch=1")
    assert index(output) == 0
    assert "1 videos written (15 moments), 1 dropped, 1 as they were" in capsys.readouterr().out
    assert contents(output) == before
    VerdictLog(str(output)).append(Verdict(SOUTH, 0, 2, "not", "ann"))
    assert index(output) == 0
    said = capsys.readouterr().out
    assert "0 videos written (0 moments), 1 updated (3 moments), 0 dropped, 1 as they were" in said


def test_a_new_ranking_or_verdict_leaves_the_vectors_as_they_are(output: Path, capsys, monkeypatch) -> None:
    write_ranking(output, {(NORTH, second): 0.25 for second in range(12)} | {(SOUTH, 0): 0.5})
    assert index(output) == 0
    before = contents(output)
    monkeypatch.setattr("framewatch.search.indexer.read_video_frames", None)  # no features are read
    sent: list[dict] = []
    upsert = MilvusClient.upsert

    def recorded(client: MilvusClient, name: str, rows: list[dict], **options: bool) -> object:
        sent.extend(rows if name == "framewatch" else [])
        return upsert(client, name, rows, **options)

    monkeypatch.setattr(MilvusClient, "upsert", recorded)
    write_ranking(
        output, {(NORTH, 3): 0.75} | {(NORTH, second): 0.25 for second in range(4, 12)} | {(SOUTH, 0): 0.5}
    )
    VerdictLog(str(output)).append(Verdict(SOUTH, 0, 2, "not", "ann"))
    capsys.readouterr()
    assert index(output) == 0
    # North: four frames, and the clips from 0 and 3 s. South: two frames, and the clip from 0 s.
    assert "0 videos written (0 moments), 2 updated (9 moments), 0 dropped, 0 as" in capsys.readouterr().out
    assert len(sent) == 9 and not any("vector" in row for row in sent)
    after = contents(output)
    assert {name: row[-1] for name, row in after.items()} == {name: row[-1] for name, row in before.items()}
    assert [after[origin_of(NORTH, second)][6] for second in (0, 2, 3, 4)] == [None, None, 0.75, 0.25]
    assert [after[origin_of(SOUTH, second)][7] for second in (0, 1, 2)] == [0, 0, None]
    assert after[origin_of(NORTH, 0) + "+6s"][6] == 0.75 and after[origin_of(SOUTH, 0) + "+6s"][6:8] == (
        0.5,
        0,
    )
    assert index(output) == 0
    assert "0 videos written (0 moments), 0 dropped, 2 as they were" in capsys.readouterr().out


def test_a_server_without_partial_upsert_gets_whole_rows(output: Path, capsys, monkeypatch) -> None:
    assert index(output) == 0
    upsert = MilvusClient.upsert

    def older(client: MilvusClient, name: str, rows: list[dict], *, partial_update: bool = False) -> object:
        if partial_update:
            raise ValueError("field vector is missing")
        return upsert(client, name, rows)

    monkeypatch.setattr(MilvusClient, "upsert", older)
    write_ranking(output, {(NORTH, 3): 0.75})
    capsys.readouterr()
    assert index(output) == 0
    assert "1 videos written (15 moments), 0 dropped, 1 as they were" in capsys.readouterr().out
    assert contents(output)[origin_of(NORTH, 3)][6] == 0.75


def test_killed_it_goes_on_to_the_same_collection(tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    videos = {f"file:/hall/{n}.mp4": vectors(n, 40) for n in range(30)}
    write_batch(output, 0, videos, IDENTITY)
    command = [sys.executable, "-c", "from framewatch.cli.main import main; main(['index', 'OUT'])"]
    process = subprocess.Popen(
        [*command[:2], command[2].replace("OUT", str(output))], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    # The log of what is written begins with the first video.
    begun = output / "search" / "moments.db" / "collections" / "framewatch_videos"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # files come and go while they are counted
            if sum(path.stat().st_size for path in begun.rglob("*.arrow")) > 4000:
                break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert index(output) == 0
    said = capsys.readouterr().out
    assert int(re.search(r"(\d+) videos written", said).group(1)) > 0
    found = contents(output)
    shutil.rmtree(output / "search")
    assert index(output) == 0
    assert contents(output) == found and len(found) == 30 * (40 + 13)


def test_other_features_and_settings_are_refused_until_it_is_rebuilt(output: Path, capsys) -> None:
    assert index(output) == 0
    assert index(output, "index.clip_s=10") == 2
    assert "was made with index.clip_s=6.0, not 10.0: make it anew, `framewatch index --rebuild`" in (
        capsys.readouterr().err
    )
    other = {**IDENTITY, "weights_sha256": "2" * 64}
    write_batch(output, 0, {NORTH: vectors(1, 12)}, other)
    assert index(output) == 2
    said = capsys.readouterr().err
    assert (
        f"weights_sha256 is {'1' * 64} in the index" in said
        and f"and {'2' * 64} in this output" in said
        and said.count("\n") == 1
    )
    assert index(output, "--rebuild", "index.clip_s=0") == 0
    assert "1 videos written (12 moments)" in capsys.readouterr().out


def test_when_most_videos_came_after_the_scenes_it_says_so(output: Path, capsys) -> None:
    assert index(output) == 0
    write_batch(output, 1, {f"file:/south/{n}.mp4": vectors(n, 12) for n in range(4)}, IDENTITY)
    capsys.readouterr()
    hint = "knows the scenes of 2 videos, and there are 6: `framewatch index --rebuild` learns the others'"
    assert index(output) == 0 and hint in capsys.readouterr().out
    assert index(output, "index.scenes=0") == 2
    assert "was made with index.scenes=256, not 0: make it anew" in capsys.readouterr().err
    assert index(output, "--rebuild") == 0 and "knows the scenes" not in capsys.readouterr().out


def test_what_is_no_index_is_told_in_one_line(output: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "foreign.db").write_text("SQLite format 3")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    frame = ["--frame", origin_of(NORTH, 0)]
    for command, told in [
        (["index", str(tmp_path / "none")], "run `framewatch extract` with this output first|featurize"),
        (["search", str(output), *frame], "there is no index .*moments.db: run `framewatch index` first"),
        (["index", str(output), f"index.uri={tmp_path}/foreign.db"], "is no collection of Milvus Lite 3"),
        (["index", str(output), f"index.uri={tmp_path}/photos"], "is no collection of Milvus Lite 3"),
        (["index", str(output), f"index.uri={tmp_path}/photos", "--rebuild"], "is no collection of Milvus"),
        (["index", str(output), "index.uri=http://127.0.0.1:9"], "cannot be reached .*: start the server"),
        (["index", str(output), "index.collection=a b"], "index.collection=a b is not valid: give a name"),
    ]:
        assert main(command) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1 and re.search(told, said[0]), said
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_damaged_index_says_so_and_can_be_made_anew(output: Path, capsys) -> None:
    assert index(output) == 0
    for path in (output / "search" / "moments.db" / "collections").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged" * 100)
    assert main(["search", str(output), "--frame", origin_of(NORTH, 0)]) == 2
    said = capsys.readouterr().err
    assert "cannot be read" in said and "`framewatch index --rebuild`" in said and said.count("\n") == 1
    assert index(output, "--rebuild") == 0
    assert main(["search", str(output), "--frame", origin_of(NORTH, 0)]) == 0


def test_a_file_that_another_process_has_is_waited_for_and_then_told(output: Path, capsys) -> None:
    assert index(output) == 0
    place = output / "search" / "moments.db"
    script = (
        "import sys; from framewatch.search.milvus_client import Place, connect; connect(Place(sys.argv[1]))"
    )
    script += "; print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(place)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(Exception, match="is in use by another process"):
            open_store(Place(str(place)), wait_s=0.3)
        holder.stdin.close()  # it ends while the search waits
        assert main(["search", str(output), "--frame", origin_of(NORTH, 0)]) == 0
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_what_passes_is_tried_again_and_what_is_wrong_is_not(monkeypatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: waits.append(seconds))
    waits: list[float] = []
    tries = iter([ConnectionError("reset"), TimeoutError(), RuntimeError("server unavailable"), None])

    def flaky() -> str:
        error = next(tries)
        if error is not None:
            raise error
        return "done"

    assert retried(flaky) == "done"
    assert len(waits) == 3 and waits[2] > waits[0] > 0
    calls: list[int] = []

    def wrong() -> None:
        calls.append(1)
        raise ValueError("no such field")

    with pytest.raises(ValueError, match="no such field"):
        retried(wrong)
    assert len(calls) == 1


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of Milvus Lite, a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "milvus-lite"), "server", "--host", "127.0.0.1"]
    command += ["--data-dir", str(tmp_path / "served"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(300)


def test_executors_write_to_a_server(spark, served: str, tmp_path: Path, capsys) -> None:
    """The same hits as from a file; another run's collection is left alone."""
    output = tmp_path / "out"
    videos = {f"file:/hall/{n}.mp4": vectors(n, 9) for n in range(6)} | {SOUTH: vectors(99, 4)}
    write_batch(output, 0, videos, IDENTITY)
    # Milvus Lite takes one writer at a time, even served.
    server = [f"index.uri={served}", "index.writers=1", "spark.master=local[2]", *FAST_OVERRIDES]
    assert index(output, *server) == 0
    assert "7 videos written (71 moments), 0 dropped, 0 as they were" in capsys.readouterr().out
    assert index(output, *server) == 0
    assert "0 videos written (0 moments), 0 dropped, 7 as they were" in capsys.readouterr().out
    assert index(output) == 0
    capsys.readouterr()
    found = []
    for where in ([], server[:1]):
        assert main(["search", str(output), "--frame", origin_of(SOUTH, 1), "--each", "--json", *where]) == 0
        found.append(json.loads(capsys.readouterr().out)["data"])
    for ours, its in zip(*found, strict=True):
        assert ours["origin"] == its["origin"] and ours["score"] == pytest.approx(its["score"], abs=1e-5)
    other = tmp_path / "other"
    write_batch(other, 0, {NORTH: vectors(5, 3)}, IDENTITY)
    assert index(other, *server) == 2
    assert f"belongs to {output}: give another name for this run's" in capsys.readouterr().err
    assert index(other, *server, "--rebuild") == 2
    assert f"belongs to {output}" in capsys.readouterr().err
    assert index(other, *server, "index.collection=other") == 0
    assert main(["search", str(output), "--exact", "--frame", origin_of(NORTH, 1), *server[:1]]) == 2


def test_a_video_that_fails_is_listed_and_taken_up_the_next_time(output: Path, capsys) -> None:
    write_batch(output, 1, {"file:/north/c.mp4": vectors(4, 3)}, IDENTITY)
    part = output / "features" / "batch=1" / "part-0.parquet"
    whole, rows = part.read_bytes(), pq.read_table(part)
    names = pa.array(["x" * 9000 + name for name in rows["origin"].to_pylist()])  # longer than Milvus takes
    pq.write_table(rows.set_column(rows.schema.get_field_index("origin"), "origin", names), part)
    assert index(output) == 2
    printed = capsys.readouterr()
    assert "2 videos written" in printed.out
    assert "1 of 3 videos could not be indexed (c.mp4: " in printed.err
    assert "run `framewatch index` again for these" in printed.err and printed.err.count("\n") == 1
    part.write_bytes(whole)
    assert index(output) == 0
    assert "1 videos written (4 moments), 0 dropped, 2 as they were" in capsys.readouterr().out


def test_without_the_extra_the_rest_works_and_search_says_what_to_install(
    output: Path, tmp_path: Path
) -> None:
    for name in ("pymilvus", "milvus_lite", "tenacity"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('hidden', name='{name}')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "framewatch.cli", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run("index", str(output))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "similar moments need the package" in done.stderr and "framewatch[search]" in done.stderr
    done = run("timeline", "a", f"output={output}")
    assert "no frames have been ranked" in done.stderr
    script = "import framewatch.pipeline.stages, framewatch.review.server, framewatch.notebook"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
