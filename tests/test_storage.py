"""Paths and small files."""

from pathlib import Path

import pytest

from framewatch import storage
from framewatch.errors import InputError


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


def test_an_output_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (f"{tmp_path}/file/out", "/proc/nope"):
        with pytest.raises(InputError, match=f"output={output} cannot be written .*: give a directory"):
            storage.require_writable(output)
    storage.require_writable(str(tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == []
