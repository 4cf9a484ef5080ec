"""videos -> frames on real Spark: sampling, parts, and videos that cannot be read."""

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pyspark.sql import functions as F

from framewatch.ingest import frames, listing
from framewatch.ingest.frames import Sampling
from framewatch.tables.schema import FRAMES, LISTING

SAMPLING = Sampling()


def extract(spark, listed, *, chunk_s: float = 600, sampling: Sampling = SAMPLING, **options):
    """The frames, and the rows of the ledger."""
    videos = listing.with_unique_names(listed).orderBy("video").collect()
    parts = frames.plan_parts(spark, videos, sampling=sampling, chunk_s=chunk_s)
    extracted = frames.extract_frames(parts, sampling=sampling, **{"images_root": "out/images", **options})
    extracted = extracted.cache()
    num_frames = extracted.where("outcome is null").count()
    return frames.frames_of(extracted, num_frames=num_frames), frames.ledger_of(extracted, videos)


def by_file(ledger: list[dict]) -> dict[str, dict]:
    """The rows by their file's name."""
    return {row["video"].rsplit("/", 1)[-1]: row for row in ledger}


def test_frames_and_ledger(spark, cameras: Path) -> None:
    pictures, ledger = extract(spark, listing.list_videos(spark, [str(cameras)]))
    assert [f.name for f in pictures.schema] == [f.name for f in FRAMES if f.name != "batch"]
    assert pictures.schema["content"].metadata["spark.contentAnnotation"] == {"mimeType": "image/jpeg"}
    rows = pictures.orderBy("origin").collect()
    assert [row["origin"] for row in rows] == [
        *(f"out/images/north/Walk1frame000{k}.jpg" for k in range(3)),
        *(f"out/images/south/Walk1frame000{k}.jpg" for k in range(2)),
        *(f"out/images/south/a b#1%20éframe000{k}.jpg" for k in range(2)),
    ]
    image = cv2.imdecode(np.frombuffer(rows[1]["content"], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (64, 96, 3) == (rows[1]["height"], rows[1]["width"], 3)
    assert image.mean() == pytest.approx(90 + 10, abs=6)  # frame 10 of a clip that brightens
    assert {row["status"] for row in ledger} == {"ok"}
    assert by_file(ledger)["a b#1%20é.mp4"]["codec"] == "h264"
    assert sum(row["num_frames"] for row in ledger) == len(rows)


def test_long_videos_become_parts_and_the_longest_come_first(spark, cameras: Path) -> None:
    videos = listing.list_videos(spark, [str(cameras)]).orderBy("video").collect()
    parts = frames.plan_parts(spark, videos, sampling=Sampling(fps=2), chunk_s=1)
    tasks = parts.withColumn("task", F.spark_partition_id()).orderBy("task").collect()
    assert [row["task"] for row in tasks] == list(range(len(tasks)))
    ranges = {video["name"]: [] for video in videos}
    for row in tasks:
        ranges[row["name"]].append((row["first"], row["stop"]))
    assert ranges["south/a b#1%20é"] == [(0, None)]  # one keyframe only: nowhere to begin a part
    assert sorted(ranges["south/Walk1"]) == [(0, 2), (2, None)]
    for parts in map(sorted, ranges.values()):  # each takes up where the one before stops
        assert parts[0][0] == 0 and parts[-1][1] is None
        assert [stop for _, stop in parts[:-1]] == [first for first, _ in parts[1:]]
    whole = frames.plan_parts(spark, videos, sampling=Sampling(), chunk_s=600).collect()
    assert next(row["name"] for row in sorted(whole, key=lambda row: row["id"])) == "north/Walk1"


def test_parts_give_the_same_tables(spark, cameras: Path) -> None:
    listed = listing.list_videos(spark, [str(cameras)])
    whole, whole_ledger = extract(spark, listed)
    parts, ledger = extract(spark, listed, chunk_s=1)
    assert ledger == whole_ledger
    assert parts.orderBy("origin").collect() == whole.orderBy("origin").collect()


def test_videos_that_cannot_be_read_cost_themselves_only(spark, tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "good.mpg", seconds=2)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is text\n" * 50)
    make_video(tmp_path / "gone.mpg")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        container.mux([*stream.encode(silence), *stream.encode(None)])
    os.mkfifo(tmp_path / "pipe.mp4")
    listed = listing.list_videos(spark, [f"{tmp_path}/[egst]*.mp[4g]"])
    listed = spark.createDataFrame(listed.collect(), LISTING)
    (tmp_path / "gone.mpg").unlink()
    pictures, rows = extract(spark, listed)
    ledger = by_file(rows)
    assert {name: row["status"] for name, row in ledger.items()} == {
        "good.mpg": "ok", "empty.mp4": "failed", "text.mp4": "failed", "gone.mpg": "unreadable",
        "sound.mp4": "failed",
    }  # fmt: skip
    assert ledger["empty.mp4"]["error"] == "the file is empty"
    assert "not a video" in ledger["text.mp4"]["error"]
    assert "No such file" in ledger["gone.mpg"]["error"]
    assert ledger["sound.mp4"]["error"] == "no video stream: the file contains only audio or data"
    assert pictures.count() == 2


def test_damaged_videos_give_what_they_hold(spark, tmp_path: Path, make_video) -> None:
    damaged = make_video(tmp_path / "damaged.mpg", seconds=20, fps=25, size=(192, 128))
    data = bytearray(damaged.read_bytes())
    for position in range(4000, len(data) - 4000, 700):
        data[position] ^= 0xFF
    damaged.write_bytes(data)
    cut = make_video(tmp_path / "cut.avi", seconds=20, fps=10, codec="mpeg4", size=(192, 128))
    os.truncate(cut, cut.stat().st_size * 6 // 10)
    _, rows = extract(spark, listing.list_videos(spark, [str(tmp_path)]))
    ledger = by_file(rows)
    assert {row["status"] for row in rows} == {"partial"}
    assert "damaged frame(s)" in ledger["damaged.mpg"]["error"]
    assert ledger["damaged.mpg"]["num_frames"] >= 15
    assert "s decoded: the last" in ledger["cut.avi"]["error"]


def test_a_decoder_that_hangs_costs_that_video_only(spark, tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "long.mp4", seconds=80, fps=30, codec="libx264", size=(640, 480))
    make_video(tmp_path / "short.mp4", seconds=1, codec="libx264")
    listed = listing.list_videos(spark, [str(tmp_path)])
    _, rows = extract(spark, listed, sampling=Sampling(fps=30, timeout_s=2.5))
    ledger = by_file(rows)
    assert ledger["short.mp4"]["status"] == "ok"
    assert ledger["long.mp4"]["status"] in ("partial", "failed")
    assert "decoding did not end within 2.5 s: set extract.timeout_s higher" in ledger["long.mp4"]["error"]


def test_images_are_written_at_their_origins(spark, tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "videos" / "Walk1.mpg", seconds=2)
    listed = listing.list_videos(spark, [str(tmp_path / "videos")])
    pictures, _ = extract(spark, listed, images_root=str(tmp_path / "images"), write_images=True)
    for row in pictures.collect():
        assert Path(row["origin"]).read_bytes() == row["content"]
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [
        "Walk1frame0000.jpg",
        "Walk1frame0001.jpg",
    ]
    assert {
        path.stat().st_mode & 0o077 for path in [tmp_path / "images", *(tmp_path / "images").iterdir()]
    } == {0}
