"""videos -> frames on real Spark: listing, names, sampling, and videos that cannot be read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pyspark.sql import functions as F

from framewatch import frames
from framewatch.errors import InputError
from framewatch.schema import FRAMES


def extract(spark, listing, **options):
    rows = frames.with_unique_names(listing).orderBy("video").collect()
    listed = frames.one_video_per_task(spark, rows)
    extracted = frames.extract_frames(listed, **{"fps": 1, "images_root": "out/images", **options}).cache()
    num_frames = extracted.where("outcome is null").count()
    return frames.frames_of(extracted, num_frames=num_frames), frames.ledger_of(extracted, listed)


@pytest.fixture(scope="module")
def cameras(tmp_path_factory, make_video) -> Path:
    root = tmp_path_factory.mktemp("cameras")
    make_video(root / "north" / "Walk1.mpg", seconds=3)
    make_video(root / "south" / "Walk1.mpg", seconds=2)
    make_video(root / "south" / "a b#1%20é.mp4", seconds=2, codec="libx264")
    (root / "south" / "notes.txt").write_text("not a video")
    return root


def test_a_directory_is_searched_for_videos(spark, cameras: Path) -> None:
    rows = frames.list_videos(spark, [str(cameras)]).orderBy("name").collect()
    assert [row["name"] for row in rows] == ["north/Walk1", "south/Walk1", "south/a b#1%20é"]
    assert rows[0]["size_bytes"] == (cameras / "north" / "Walk1.mpg").stat().st_size
    assert rows[0]["video"] == f"file:{cameras}/north/Walk1.mpg"


def test_names_are_below_the_fixed_part_or_the_given_root(spark, cameras: Path) -> None:
    def names(*patterns: str, root: str | None = None) -> list[str]:
        rows = frames.list_videos(spark, list(patterns), root=root).orderBy("name").collect()
        return [row["name"] for row in rows]

    assert names(f"{cameras}/*/*.mpg") == ["north/Walk1", "south/Walk1"]
    assert names(f"{cameras}/north/*.mpg") == ["Walk1"]
    assert names(f"{cameras}/north/*.mpg", root=str(cameras)) == ["north/Walk1"]
    assert names(f"{cameras}/north/Walk1.mpg") == ["Walk1"]


def test_relative_patterns(spark, cameras: Path, monkeypatch) -> None:
    # The JVM keeps the directory it was started in, so relative patterns are against that one.
    relative = Path(*[".."] * (len(Path.cwd().parts) - 1), *cameras.parts[1:])
    rows = frames.list_videos(spark, [f"{relative}/south/*.mpg"]).collect()
    assert [row["name"] for row in rows] == ["Walk1"]


def test_shared_names_get_one_of_their_own(spark, cameras: Path) -> None:
    listing = frames.list_videos(spark, [f"{cameras}/north/*.mpg", f"{cameras}/south/*.mpg"])
    names = [row["name"] for row in frames.with_unique_names(listing).collect()]
    assert len(set(names)) == 2
    assert all(name.startswith("Walk1~") for name in names)


def test_a_name_in_the_tables_is_taken(spark, cameras: Path) -> None:
    listing = frames.list_videos(spark, [f"{cameras}/north/*.mpg"])
    other = spark.createDataFrame([("file:/elsewhere/Walk1.mpg", "Walk1")], "video string, name string")
    assert frames.with_unique_names(listing, other).first()["name"].startswith("Walk1~")
    same = listing.select("video", "name")
    assert frames.with_unique_names(listing, same).first()["name"] == "Walk1"


@pytest.mark.parametrize("pattern", ["nowhere/*.mpg", "nowhere", "README.md/x.mp4"])
def test_no_match_is_one_clear_line(spark, pattern: str) -> None:
    with pytest.raises(InputError, match=f"no video matches '{pattern.replace('*', '.')}'"):
        frames.list_videos(spark, [pattern])


def test_frames_and_ledger(spark, cameras: Path) -> None:
    pictures, ledger = extract(spark, frames.list_videos(spark, [str(cameras)]))
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
    outcomes = {row["video"].rsplit("/", 1)[-1]: row for row in ledger.collect()}
    assert {row["status"] for row in outcomes.values()} == {"ok"}
    assert outcomes["a b#1%20é.mp4"]["codec"] == "h264"
    assert ledger.agg(F.sum("num_frames")).first()[0] == len(rows)


def test_each_video_is_one_task(spark, cameras: Path) -> None:
    rows = frames.list_videos(spark, [str(cameras)]).collect()
    listed = frames.one_video_per_task(spark, rows)
    sizes = [
        row["n"] for row in listed.groupBy(F.spark_partition_id()).agg(F.count("*").alias("n")).collect()
    ]
    assert sizes == [1, 1, 1]


def test_videos_that_cannot_be_read_cost_themselves_only(spark, tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "good.mpg", seconds=2)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is text\n" * 50)
    make_video(tmp_path / "gone.mpg")
    listing = spark.createDataFrame(frames.list_videos(spark, [str(tmp_path)]).collect(), frames.LISTING)
    (tmp_path / "gone.mpg").unlink()
    pictures, ledger = extract(spark, listing)
    outcomes = {row["video"].rsplit("/", 1)[-1]: row for row in ledger.collect()}
    assert {name: row["status"] for name, row in outcomes.items()} == {
        "good.mpg": "ok", "empty.mp4": "failed", "text.mp4": "failed", "gone.mpg": "failed",
    }  # fmt: skip
    assert outcomes["empty.mp4"]["error"] == "the file is empty"
    assert "not a video" in outcomes["text.mp4"]["error"]
    assert "No such file" in outcomes["gone.mpg"]["error"]
    assert pictures.count() == 2


def test_images_are_written_at_their_origins(spark, tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "videos" / "Walk1.mpg", seconds=2)
    listing = frames.list_videos(spark, [str(tmp_path / "videos")])
    pictures, _ = extract(spark, listing, images_root=str(tmp_path / "images"), write_images=True)
    for row in pictures.collect():
        assert Path(row["origin"]).read_bytes() == row["content"]
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [
        "Walk1frame0000.jpg",
        "Walk1frame0001.jpg",
    ]
