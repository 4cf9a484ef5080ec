"""Videos on a real S3 API on loopback, with credentials from the environment alone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from conftest import FAST_OVERRIDES, ROOT
from moto.server import ThreadedMotoServer

from framewatch.cli import main
from framewatch.config import LockConfig
from framewatch.errors import InputError
from framewatch.labels import read_labels
from framewatch.pipeline.lock import Lease, exclusive_lock
from framewatch.tables import Tables
from framewatch.video.decoder import Decoding
from framewatch.video.probe import OpenVideo

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret"}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Variables that lead to the server and open it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    yield {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    server.stop()


@pytest.fixture
def bucket(environment, monkeypatch) -> Iterator[s3fs.S3FileSystem]:
    """An empty bucket `clips`, for this process too."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir("clips")
    yield filesystem
    filesystem.rm("clips", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


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
    bare = {name: value for name, value in environment.items() if name not in CREDENTIALS}
    bare |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    script = "from framewatch.video.extraction import answer\n"
    script += "print(list(answer({'task': 'plan', 'source': 's3://clips/a.mp4', 'chunk_s': 60.0})))"
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


def test_two_runs_at_once_on_remote_storage(bucket) -> None:
    settings = LockConfig(lease_s=4)
    with exclusive_lock("s3://clips/out", "extract", settings):
        for wait_s in (0, 5):  # it is renewed
            time.sleep(wait_s)
            with pytest.raises(InputError, match=r"is in use by another run \(extract, process"):
                exclusive_lock("s3://clips/out", "featurize", settings).__enter__()
    Lease("s3://clips/out", "a run that was killed", 4).acquire()
    time.sleep(4.1)
    with exclusive_lock("s3://clips/out", "extract", settings):
        pass


def test_labels_on_s3(spark, bucket) -> None:
    bucket.pipe("clips/labels/a [1].csv", b"ImageName,label\na.jpg,1\n")
    assert [row.name for row in read_labels(spark, "s3a://clips/labels/a [1].csv").rows] == ["a.jpg"]
    with pytest.raises(InputError, match=r"'s3://clips/labels/none\.csv' does not exist"):
        read_labels(spark, "s3://clips/labels/none.csv")
