"""Which videos there are, on real Spark, and what their frames are called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAST_OPTIONS, ROOT

from framewatch.errors import InputError, SetupError
from framewatch.ingest import listing
from framewatch.ingest.patterns import hidden_videos


def test_a_directory_is_searched_for_videos(spark, cameras: Path) -> None:
    rows = listing.list_videos(spark, [str(cameras)]).orderBy("name").collect()
    assert [row["name"] for row in rows] == ["north/Walk1", "south/Walk1", "south/a b#1%20é"]
    assert rows[0]["size_bytes"] == (cameras / "north" / "Walk1.mpg").stat().st_size
    assert rows[0]["video"] == f"file:{cameras}/north/Walk1.mpg"


def test_a_long_listing_is_the_same_as_a_short_one(
    spark, cameras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = listing.list_videos(spark, [str(cameras)])
    monkeypatch.setattr(listing, "_ROWS_AT_ONCE", 2)
    many = listing.list_videos(spark, [str(cameras)])
    assert (many.schema, many.collect()) == (few.schema, few.collect())


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


def test_lists_of_videos(spark, cameras: Path, tmp_path: Path) -> None:
    """A CSV and a Parquet list name the same files, as a glob does; a missing one stays in."""
    glob = listing.list_videos(spark, [f"{cameras}/*/*.mp*"], root=str(cameras)).orderBy("video").collect()
    paths = [*(row["video"].removeprefix("file:") for row in glob), f"{tmp_path}/gone.mp4"]
    (tmp_path / "list.csv").write_text("camera,video\n" + "".join(f'7,"{path}"\n' for path in paths))
    frame = spark.createDataFrame([(f"file://{path}",) for path in [*paths, *paths]], "video string")
    frame.write.parquet(str(tmp_path / "list.parquet"))
    for name in ("list.csv", "list.parquet"):
        listed = listing.list_videos(spark, [str(tmp_path / name)], root=str(cameras))
        rows = listed.orderBy("video").collect()
        assert [row for row in rows if "gone" not in row["video"]] == glob
        gone = next(row for row in rows if "gone" in row["video"])
        assert (gone["size_bytes"], gone["modified_ms"], gone["name"]) == (0, None, "gone")
        assert len(rows) == 4
    names = listing.list_videos(spark, [str(tmp_path / "list.csv")]).orderBy("video").collect()
    assert [row["name"] for row in names] == ["Walk1", "Walk1", "a b#1%20é", "gone"]


def test_a_file_has_one_time_however_it_is_found(spark, tmp_path: Path) -> None:
    """A microsecond below a full millisecond, and exactly one: where rounding would tell two times."""
    for number, time_ns in enumerate(
        [1763838474_086_999_723, 1763838344_717_000_000, 1763838344_123_000_000]
    ):
        (tmp_path / f"{number}.mp4").write_bytes(b"a video")
        os.utime(tmp_path / f"{number}.mp4", ns=(time_ns, time_ns))
    found = listing.list_videos(spark, [str(tmp_path)])
    assert listing.list_named(found, [str(tmp_path)]).collect() == found.collect()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,camera\na.mp4,7\n", "has the columns path, camera: it must have a column video"),
        ("video\n", "is empty: add paths or URIs to its column video"),
        ("", "has the columns none: it must have a column video"),
    ],
)
def test_lists_that_are_none(spark, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        listing.list_videos(spark, [str(tmp_path / "list.csv")])
    with pytest.raises(InputError, match=r"'nowhere\.csv' does not exist"):
        listing.list_videos(spark, ["nowhere.csv"])


def test_a_scheme_without_a_connector_is_one_clear_line(spark) -> None:
    with pytest.raises(SetupError, match=r"no connector for s3: .*hadoop-aws:3\.\d.* give a list of URIs"):
        listing.list_videos(spark, ["s3://bucket/*.mp4"])


ODD = [
    "sp ace.mp4",
    "new\nline.mp4",
    "per%41cent%.mp4",
    "ha#sh.mp4",
    "ünï 東京.mp4",
    "plus+&;=.mp4",
    "quo'te\".mp4",
]


def test_odd_names(spark, tmp_path: Path, make_video) -> None:
    good = make_video(tmp_path / "good.mpg", seconds=1).read_bytes()
    for name in ODD:
        (tmp_path / "odd" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "odd" / name).write_bytes(good)
    for pattern in (f"{tmp_path}/odd", f"{tmp_path}/odd/*.mp4"):
        rows = listing.list_videos(spark, [pattern]).collect()
        assert {row["video"].rpartition("/")[2] for row in rows} == set(ODD)
        assert {row["name"] for row in rows} == {name.removesuffix(".mp4") for name in ODD}
        assert {row["size_bytes"] for row in rows} == {len(good)}


def test_a_directory_named_like_a_video(spark, tmp_path: Path, make_video) -> None:
    """One with videos in it is searched; an empty one is told of in the ledger."""
    make_video(tmp_path / "camera.mp4" / "a.mpg")
    (tmp_path / "empty.mp4").mkdir()

    def listed(pattern: str) -> list[str]:
        rows = listing.list_videos(spark, [pattern]).collect()
        return sorted(row["video"].removeprefix(f"file:{tmp_path}/") for row in rows)

    assert listed(f"{tmp_path}/*.mp4") == ["camera.mp4/a.mpg", "empty.mp4"]
    assert listed(f"{tmp_path}/empty.mp4") == ["empty.mp4"]
    assert listed(str(tmp_path)) == ["camera.mp4/a.mpg"]


def test_directories_with_dots_in_their_names(spark, tmp_path: Path, make_video) -> None:
    camera = tmp_path / "192.168.1.10"
    make_video(camera / "a.mpg")
    (camera / "notes.txt").write_text("not a video")
    for pattern in (str(camera), f"{tmp_path}/192.*", f"{camera}/"):
        rows = listing.list_videos(spark, [pattern]).collect()
        assert [row["video"].rpartition("/")[2] for row in rows] == ["a.mpg"], pattern
    rows = listing.list_videos(spark, [f"{camera}/*.txt"]).collect()  # asked for by name
    assert [row["video"].rpartition("/")[2] for row in rows] == ["notes.txt"]


def test_a_file_system_of_hadoops(tmp_path: Path) -> None:
    """One that this machine does not see by path: `viewfs:`, which a session must be started with."""
    for name in ("a.mp4", "_b.mp4", ".c.mp4", "notes.txt", "cam[1]/d 1%41.mp4", "cam[1]/_e/f.mp4"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).write_bytes(b"a video")
    (tmp_path / "v" / "empty.mp4").touch()
    code = f"""
from framewatch.ingest import listing
from framewatch.spark.session import get_spark
link = "spark.hadoop.fs.viewfs.mounttable.default.link./data"
spark = get_spark(master="local[1]", conf={{link: "file://{tmp_path}/v"}})
for pattern in ("", "/*.mp4", "/cam[1]", "/cam[1]/*.mp4", "/a.mp4"):
    passed_over = listing.PassedOver()
    rows = listing.list_videos(spark, [f"viewfs:///data{{pattern}}"], passed_over=passed_over).collect()
    print(pattern, [(row["video"], row["size_bytes"], row["name"]) for row in rows], passed_over, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "JAVA_TOOL_OPTIONS": FAST_OPTIONS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    a, empty = ("viewfs:/data/a.mp4", 7, "a"), ("viewfs:/data/empty.mp4", 0, "empty")
    inner = "viewfs:/data/cam[1]/d 1%41.mp4"
    assert done.stdout.splitlines() == [
        f"|{[a, (inner, 7, 'cam[1]/d 1%41'), empty]}|1 file without a video suffix, viewfs:/data/notes.txt",
        f"/*.mp4|{[a, empty]}|",
        f"/cam[1]|{[(inner, 7, 'cam[1]/d 1%41')]}|",
        f"/cam[1]/*.mp4|{[(inner, 7, 'cam[1]/d 1%41')]}|",
        f"/a.mp4|{[a]}|",
    ]


def test_videos_that_spark_hides_are_counted_where_workers_see_them(tmp_path: Path) -> None:
    for name in ("a.mp4", "_b.mp4", ".c.mp4", "_notes.txt", "cam/_d/e.mp4", "cam/f.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    hidden = hidden_videos(f"local://{tmp_path}")
    below = [name.removeprefix(f"local://{tmp_path}/") for name in hidden]
    assert sorted(below) == [".c.mp4", "_b.mp4", "cam/_d/e.mp4"]
    assert [name.rpartition("/")[2] for name in hidden_videos(f"local://{tmp_path}/*.mp4")] != []
    assert [name.rpartition("/")[2] for name in hidden_videos(f"local://{tmp_path}/c*")] == ["e.mp4"]
    assert hidden_videos("nonsense://x") == []
