"""Which videos there are, on real Spark, and what their frames are called."""

from pathlib import Path

import pytest

from framewatch import listing
from framewatch.errors import InputError


def test_a_directory_is_searched_for_videos(spark, cameras: Path) -> None:
    rows = listing.list_videos(spark, [str(cameras)]).orderBy("name").collect()
    assert [row["name"] for row in rows] == ["north/Walk1", "south/Walk1", "south/a b#1%20é"]
    assert rows[0]["size_bytes"] == (cameras / "north" / "Walk1.mpg").stat().st_size
    assert rows[0]["video"] == f"file:{cameras}/north/Walk1.mpg"


def test_names_are_below_the_fixed_part_or_the_given_root(spark, cameras: Path) -> None:
    def names(*patterns: str, root: str | None = None) -> list[str]:
        rows = listing.list_videos(spark, list(patterns), root=root).orderBy("name").collect()
        return [row["name"] for row in rows]

    assert names(f"{cameras}/*/*.mpg") == ["north/Walk1", "south/Walk1"]
    assert names(f"{cameras}/north/*.mpg") == ["Walk1"]
    assert names(f"{cameras}/north/*.mpg", root=str(cameras)) == ["north/Walk1"]
    assert names(f"{cameras}/north/Walk1.mpg") == ["Walk1"]


def test_relative_patterns(spark, cameras: Path, monkeypatch) -> None:
    # The JVM keeps the directory it was started in, so relative patterns are against that one.
    relative = Path(*[".."] * (len(Path.cwd().parts) - 1), *cameras.parts[1:])
    rows = listing.list_videos(spark, [f"{relative}/south/*.mpg"]).collect()
    assert [row["name"] for row in rows] == ["Walk1"]


def test_shared_names_get_one_of_their_own(spark, cameras: Path) -> None:
    listed = listing.list_videos(spark, [f"{cameras}/north/*.mpg", f"{cameras}/south/*.mpg"])
    names = [row["name"] for row in listing.with_unique_names(listed).collect()]
    assert len(set(names)) == 2
    assert all(name.startswith("Walk1~") for name in names)


def test_a_name_in_the_tables_is_taken(spark, cameras: Path) -> None:
    listed = listing.list_videos(spark, [f"{cameras}/north/*.mpg"])
    other = spark.createDataFrame([("file:/elsewhere/Walk1.mpg", "Walk1")], "video string, name string")
    assert listing.with_unique_names(listed, other).first()["name"].startswith("Walk1~")
    same = listed.select("video", "name")
    assert listing.with_unique_names(listed, same).first()["name"] == "Walk1"


@pytest.mark.parametrize("pattern", ["nowhere/*.mpg", "nowhere", "README.md/x.mp4"])
def test_no_match_is_one_clear_line(spark, pattern: str) -> None:
    with pytest.raises(InputError, match=f"no video matches '{pattern.replace('*', '.')}'"):
        listing.list_videos(spark, [pattern])
