"""Paths and small files."""

from pathlib import Path

import pyarrow as pa
import pytest

from framewatch.errors import InputError
from framewatch.io import atomic, storage
from framewatch.tables.results import Results


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/a/b c%20#é.mp4", "/a/b c%20#é.mp4"),
        ("file:///a/b.mp4", "/a/b.mp4"),
        ("/a/b.mp4", "/a/b.mp4"),
        ("out/a", "out/a"),
        ("dbfs:/videos/a.mp4", "/dbfs/videos/a.mp4"),
        ("dbfs:/Volumes/main/a.mp4", "/Volumes/main/a.mp4"),
        ("file:/a/line\nbreak.mp4", "/a/line\nbreak.mp4"),
        ("s3a://bucket/a.mp4", None),
        ("hdfs://host/a.mp4", None),
    ],
)
def test_local_path(uri: str, path: str | None) -> None:
    assert storage.local_path(uri) == path


def test_files_there_and_back(tmp_path: Path) -> None:
    uri = f"file:{tmp_path}/deep/er/a.json"
    storage.write_json(uri, {"a": [1, "é"]})
    storage.write_json(uri, {"a": 2})
    assert storage.read_json(uri) == {"a": 2}
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["a.json"]
    assert storage.matches(f"{tmp_path}/deep", "*/a.json")
    storage.delete(f"{tmp_path}/deep")
    storage.delete(f"{tmp_path}/deep")
    assert not storage.matches(str(tmp_path), "*")
    with pytest.raises(FileNotFoundError):
        storage.read_json(uri)


@pytest.mark.parametrize("old", ["old", None])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, old: str | None) -> None:
    target = tmp_path / "a.json"
    if old:
        target.write_text(old)
    with pytest.raises(ValueError, match="half"), atomic.replacing(target) as part:
        part.write_text("new")
        part.with_name("scratch").mkdir()
        raise ValueError("half")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == ({"a.json": old} if old else {})
    with pytest.raises(FileNotFoundError), atomic.replacing(target):
        pass
    with atomic.replacing(target) as part:
        part.write_text("new")
        part.with_name("scratch").mkdir()
        assert not old or target.read_text() == old
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "new"}


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "a") as part:
        part.mkdir()
        (part / "1").write_text("x")
        assert not (tmp_path / "a").exists()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["a", "a/1"]


def test_an_output_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (f"{tmp_path}/file/out", "/proc/nope"):
        with pytest.raises(InputError, match=f"output={output} cannot be written .*: set a directory"):
            storage.require_writable(output)
    storage.require_writable(str(tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == []


def test_files_of_a_delta_table_are_those_of_its_latest_version(tmp_path: Path) -> None:
    """As Databricks leaves them: deleted rows' files still lie there."""
    deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed: framewatch[delta]")
    table = tmp_path / "a b=é" / "videos"
    for batch in (0, 1, 1):
        row = {"video": [f"v{batch}.mpg"], "status": ["ok"], "batch": pa.array([batch], pa.int32())}
        row["modified_at"] = pa.array([0], pa.timestamp("us", "UTC"))
        deltalake.write_deltalake(
            str(table), pa.table(row), mode="overwrite" if batch == 0 else "append", partition_by=["batch"]
        )
    deltalake.DeltaTable(str(table)).delete("batch = 1")
    _, files = storage.parquet_files(str(table), "batch=*/*.parquet")
    assert len(files) == 1 and Path(files[0]).is_file() and len(list(table.rglob("*.parquet"))) == 3
    storage.write_json(f"{tmp_path}/a b=é/ranking.json", {})
    assert [(row["video"], row["batch"]) for row in Results(f"{tmp_path}/a b=é").videos()] == [("v0.mpg", 0)]
