"""Videos on a real S3 API on loopback, with credentials from the environment alone."""

import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from conftest import FAST_OVERRIDES, ROOT, S3_CREDENTIALS
from outputs import make_output
from page_client import Client

from framewatch.cli.main import main
from framewatch.errors import InputError
from framewatch.feedback.loop import LoopSettings
from framewatch.io import storage
from framewatch.io.locks import Lease, exclusive_lock
from framewatch.ranking.labels import read_labels
from framewatch.review.server import ServeSettings, open_server
from framewatch.tables.spark_tables import Tables
from framewatch.video.decoder import Decoding
from framewatch.video.probe import OpenVideo


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """A process of its own: Spark's workers have the environment that their session began with."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [
            sys.executable, "-m", "framewatch.cli", "extract", *arguments, *FAST_OVERRIDES,
            "spark.master=local[2]",
        ],
        cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_videos_on_s3_equal_local_ones(
    spark, bucket, environment, make_video, tmp_path: Path, capsys
) -> None:
    videos = tmp_path / "videos"
    make_video(videos / "a b#1%.mp4", seconds=3, codec="libx264")
    make_video(videos / "b.mpg", seconds=3)
    make_video(videos / "c.avi", seconds=3, codec="mpeg4")
    (videos / "empty.mp4").write_bytes(b"")
    names = sorted(path.name for path in videos.iterdir())
    for name in names:
        bucket.put(str(videos / name), f"clips/{name}")
    lines = [f"s3://clips/{name}" for name in names] + ["s3a://clips/gone.mp4"]
    (tmp_path / "list.csv").write_text("video\n" + "\n".join(lines) + "\n")
    common = ["extract.chunk_s=1", "extract.max_failed_share=1"]
    remote = [f"videos.train={tmp_path}/list.csv", f"output={tmp_path}/remote", *common]
    done = run(environment, *remote)
    assert "extract: 5 videos (3 ok, 0 partial, 1 failed, 1 unreadable), 9 frames" in done.stdout, (
        done.stderr[-2000:]
    )
    assert main(["extract", f"videos.train={videos}", f"output={tmp_path}/local", *common]) == 0
    frames = [
        [
            (row["video"].rpartition("/")[2], row["frame_index"], row["timestamp_s"], row["content"])
            for row in Tables(spark, f"{tmp_path}/{side}").read("frames").orderBy("origin").collect()
        ]
        for side in ("remote", "local")
    ]
    assert frames[0] == frames[1]
    ledger = {row["video"]: row for row in Tables(spark, f"{tmp_path}/remote").read("videos").collect()}
    assert ledger["s3://clips/empty.mp4"]["error"] == "the file is empty"
    assert "cannot be read" in ledger["s3a://clips/gone.mp4"]["error"]
    assert ledger["s3://clips/b.mpg"]["size_bytes"] == (videos / "b.mpg").stat().st_size


def test_without_credentials_each_video_says_so(bucket, environment, tmp_path: Path) -> None:
    """In a process of its own, as the library behind fsspec keeps the credentials it has found."""
    bare = {name: value for name, value in environment.items() if name not in S3_CREDENTIALS}
    bare |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    script = "from framewatch.video.extraction import handle_request\n"
    script += "print(list(handle_request({'task': 'plan', 'source': 's3://clips/a.mp4', 'chunk_s': 60.0})))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=ROOT, env={**clean, **bare}, capture_output=True, text=True, check=True
    )
    assert "'failure': 'Unable to locate credentials" in done.stdout
    assert "'unreadable': True" in done.stdout


def test_a_part_reads_its_part_of_the_file(bucket, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mkv", seconds=240, fps=2, codec="rawvideo", size=(320, 240))
    assert path.stat().st_size > 24 << 20  # several times what is read at once
    bucket.put(str(path), "clips/long.mkv")
    decoding = Decoding("s3://clips/long.mkv", 1, first=200, stop=203)
    assert [frame.index for frame in decoding.samples()] == [200, 201, 202]
    with OpenVideo("s3://clips/long.mkv") as video:
        video.container.seek(200_000_000)
        next(video.container.decode(video.stream))
        assert video._file.cache.total_requested_bytes < path.stat().st_size / 2


@pytest.fixture
def second_writer(environment) -> Any:
    """A client of its own: nothing that it does reaches a cache of s3fs."""
    names = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_DEFAULT_REGION"}
    names |= {name.lower(): name for name in S3_CREDENTIALS}
    return boto3.client("s3", **{key: environment[name] for key, name in names.items()})


def keys(client: Any, prefix: str = "") -> list[str]:
    return [item["Key"] for item in client.list_objects_v2(Bucket="clips", Prefix=prefix).get("Contents", [])]


def test_files_of_another_writer_are_seen_and_removed(bucket, second_writer) -> None:
    put = functools.partial(second_writer.put_object, Bucket="clips")
    storage.write_bytes("s3://clips/out/a/1.json", b"1")
    assert storage.children("s3://clips/out/a") == ["1.json"]
    assert not storage.matches("s3://clips/out", "b/*.json") and not storage.exists("s3://clips/out/b")
    assert storage.status("s3a://clips/out/b/2.json") == (0, None)
    put(Key="out/a/2.json", Body=b"2")
    put(Key="out/b/2.json", Body=b"22")
    assert storage.children("s3://clips/out/a") == ["1.json", "2.json"]
    assert storage.matches("s3://clips/out", "b/*.json") and storage.exists("s3://clips/out/b")
    assert storage.status("s3a://clips/out/b/2.json")[0] == 2
    put(Key="out/b/2.json", Body=b"[1, 2]")
    assert storage.status("s3a://clips/out/b/2.json")[0] == 6
    assert storage.read_json("s3://clips/out/b/2.json") == [1, 2]
    put(Key="out/a/deep/3.json", Body=b"3")
    storage.delete("s3://clips/out/a")
    assert keys(second_writer) == ["out/b/2.json"]
    storage.write_bytes("s3://clips/out/a/new/1.json", b"1")
    storage.replace_directory("s3://clips/out/a", "s3://clips/out/b")
    assert keys(second_writer) == ["out/b/new/1.json"]
    second_writer.delete_object(Bucket="clips", Key="out/b/new/1.json")
    assert storage.children("s3://clips/out/b") == [] and not storage.matches("s3://clips/out", "*/*/*")
    with pytest.raises(FileNotFoundError):
        storage.read_json("s3://clips/out/b/new/1.json")


def test_a_page_that_is_open_sees_what_another_writer_writes(
    bucket, second_writer, clocks, tmp_path: Path, monkeypatch
) -> None:
    """A verdict of another page's; then a new ranking, in files of other names."""
    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "home"))
    output = make_output(tmp_path / "out", clocks)
    bucket.put(str(output), "clips/out", recursive=True)
    settings = ServeSettings(port=0, reviewer="ann")
    opened = open_server("s3://clips/out", settings=settings, loop=LoopSettings())
    thread = threading.Thread(target=opened.run, daemon=True)
    thread.start()
    try:
        client = Client(opened.address)
        client.judge(0, "suspicious")
        [mine] = keys(second_writer, "out/verdicts/")
        verdict = json.loads(second_writer.get_object(Bucket="clips", Key=mine)["Body"].read())
        for number in (1, 2):
            body = {**verdict, "id": f"{number}" * 32, "reviewer": f"bob{number}", "answer": "not"}
            key = f"out/verdicts/bob{number}.jsonl"
            second_writer.put_object(Bucket="clips", Key=key, Body=json.dumps(body).encode() + b"\n")
            assert client.get("api/status")["verdicts"] == 1 + number
        incidents = pq.read_table(output / "incidents" / "part-0.parquet").slice(0, 1)
        pq.write_table(incidents, tmp_path / "part-1.parquet")
        second_writer.delete_object(Bucket="clips", Key="out/incidents/part-0.parquet")
        second_writer.upload_file(str(tmp_path / "part-1.parquet"), "clips", "out/incidents/part-1.parquet")
        about = json.dumps({**json.loads((output / "ranking.json").read_text()), "model": "def456def456"})
        second_writer.put_object(Bucket="clips", Key="out/ranking.json", Body=about.encode())
        status = client.get("api/status")
        assert status["ranking"] != client.ranking
    finally:
        opened.stop()
        thread.join(5)


def test_two_runs_at_once_on_remote_storage(bucket) -> None:
    with exclusive_lock("s3://clips/out", "extract", lease_s=4):
        for wait_s in (0, 5):  # it is renewed
            time.sleep(wait_s)
            with pytest.raises(InputError, match=r"is in use by another run \(extract, process"):
                exclusive_lock("s3://clips/out", "featurize", lease_s=4).__enter__()
    Lease("s3://clips/out", "a run that was killed", 4).acquire()
    time.sleep(4.1)
    with exclusive_lock("s3://clips/out", "extract", lease_s=4):
        pass


def test_labels_on_s3(spark, bucket) -> None:
    bucket.pipe("clips/labels/a [1].csv", b"ImageName,label\na.jpg,1\n")
    assert [row.name for row in read_labels(spark, "s3a://clips/labels/a [1].csv").rows] == ["a.jpg"]
    with pytest.raises(InputError, match=r"'s3://clips/labels/none\.csv' does not exist"):
        read_labels(spark, "s3://clips/labels/none.csv")
