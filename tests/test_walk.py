"""Video files on local paths: names, links, globs, and what is passed over. Without Spark."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ROOT

from framewatch.ingest import walk
from framewatch.ingest.walk import DANGLING, HIDDEN, NO_SUFFIX, NO_VIDEOS, REPEATED, SPECIAL, UNREADABLE


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"a video")


def found(pattern: object, root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The videos, and what was passed over with its reason, as paths below the root."""
    entries = [(os.path.relpath(entry.path, root), entry.reason) for entry in walk.find_files(str(pattern))]
    return (
        sorted(path for path, reason in entries if reason is None),
        sorted((path, reason) for path, reason in entries if reason is not None),
    )


def test_names_as_recorders_give_them(tmp_path: Path) -> None:
    names = [
        "Front Door - 2-9-2020, 11.21.12pm.mp4", "front-1606742747.272411-0lbwng.mp4", "38.34.MP4",
        "Roof_2020-11-09T10:30:54-0800.mp4", "cam[1] {a}.mp4", "\N{AUTOMOBILE} drive.mp4", "CAM 7 .mp4",
        "-dash.mp4", "new\nline.mp4", "back\\slash.mp4", "_front.mp4", "a*b?.mp4", "a%41.mp4",
    ]  # fmt: skip
    make(tmp_path, *names)
    assert found(tmp_path, tmp_path) == (sorted(names), [])
    small = sorted(name for name in names if name.endswith(".mp4"))
    assert found(tmp_path / "*.mp4", tmp_path) == (small, [])
    for name in names:
        assert found(tmp_path / name, tmp_path) == ([name], []), name


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"a video")
    assert found(tmp_path, tmp_path) == (["caf\udce9.mp4"], [])
    assert found(tmp_path / "caf*.mp4", tmp_path) == (["caf\udce9.mp4"], [])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/*.mp4", ["cam1/a.mp4", "cam2/b.mp4", "cam[1]/c.mp4"]),
        ("cam[1]/*.mp4", ["cam[1]/c.mp4"]),  # it exists, so that it is no wildcard
        ("cam[12]/*.mp4", ["cam1/a.mp4", "cam2/b.mp4"]),
        ("cam[^1]/*", ["cam2/b.mp4"]),
        ("cam[!1]/*", ["cam2/b.mp4"]),
        (r"cam\[1\]/*.mp4", ["cam[1]/c.mp4"]),
        ("cam{1,2}/*", ["cam1/a.mp4", "cam2/b.mp4"]),
        ("{cam1/a,cam2/b}.mp4", ["cam1/a.mp4", "cam2/b.mp4"]),
        ("cam{1,{2,3}}", ["cam1/a.mp4", "cam2/b.mp4"]),
        ("cam?", ["cam1/a.mp4", "cam2/b.mp4"]),
        ("cam[1", []),
        ("cam1/", ["cam1/a.mp4"]),
        ("nowhere/*.mp4", []),
        ("cam1/a.mp4/*", []),
        ("cam1/*.txt", ["cam1/notes.txt"]),  # asked for by its name
        ("cam1/notes.txt", ["cam1/notes.txt"]),
        ("no suffix", ["no suffix"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: Sequence[str]) -> None:
    make(tmp_path, "cam1/a.mp4", "cam2/b.mp4", "cam[1]/c.mp4", "cam1/notes.txt", "no suffix")
    assert found(f"{tmp_path}/{pattern}", tmp_path)[0] == expected


def test_a_link_to_the_newest_day_gives_no_video_twice(tmp_path: Path) -> None:
    make(tmp_path, "2021-05-03/a.mp4", "2021-05-03/deep/b.mp4")
    (tmp_path / "a first.mp4").symlink_to("2021-05-03/a.mp4")
    (tmp_path / "1 latest").symlink_to("2021-05-03")
    (tmp_path / "last.mp4").symlink_to("../gone.mp4")
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    videos = ["2021-05-03/a.mp4", "2021-05-03/deep/b.mp4"]
    passed = [("1 latest", REPEATED), ("a first.mp4", REPEATED), ("circle.mp4", DANGLING)]
    passed += [("last.mp4", DANGLING)]
    assert found(tmp_path, tmp_path) == (videos, passed)
    assert found(tmp_path / "*", tmp_path) == (videos, passed)
    # Named, a link is followed, and the file has that name.
    assert found(tmp_path / "1 latest", tmp_path)[0] == ["1 latest/a.mp4", "1 latest/deep/b.mp4"]
    assert found(tmp_path / "last.mp4", tmp_path) == ([], [("last.mp4", DANGLING)])


@pytest.mark.parametrize("target", ["..", ".", "../..", "/"])
def test_links_that_lead_back_or_above(tmp_path: Path, target: str) -> None:
    make(tmp_path, "w/day/a.mp4", "w/other/b.mp4", "elsewhere.mp4")
    (tmp_path / "w/day/up").symlink_to(target)
    for pattern in ("w", "w/*"):
        videos, passed = found(tmp_path / pattern, tmp_path)
        assert (videos, passed) == (["w/day/a.mp4", "w/other/b.mp4"], [("w/day/up", REPEATED)])


def test_links_to_what_lies_outside(tmp_path: Path) -> None:
    make(tmp_path, "disk/1/a.mp4", "disk/1/deep/b.mp4", "disk/c.mp4")
    (tmp_path / "v").mkdir()
    for name, target in {"x": "disk/1", "y": "disk", "z": "disk/1/deep", "c.mp4": "disk/c.mp4"}.items():
        (tmp_path / "v" / name).symlink_to(tmp_path / target)
    videos, passed = found(tmp_path / "v", tmp_path)
    assert videos == ["v/c.mp4", "v/x/a.mp4", "v/x/deep/b.mp4"]
    assert passed == [("v/y/1", REPEATED), ("v/y/c.mp4", REPEATED), ("v/z", REPEATED)]


def test_what_is_passed_over_has_a_reason(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", ".hidden.mp4", ".cache/b.mp4", "notes.txt", "camera.mp4/c.mp4", "day/.x.mp4")
    (tmp_path / "empty.mp4").mkdir()
    (tmp_path / "zero.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket.mp4"))
        videos, passed = found(tmp_path, tmp_path)
    assert videos == ["a.mp4", "camera.mp4/c.mp4", "zero.mp4"]
    assert passed == [
        (".cache", HIDDEN), (".hidden.mp4", HIDDEN), ("day/.x.mp4", HIDDEN), ("empty.mp4", NO_VIDEOS),
        ("notes.txt", NO_SUFFIX), ("pipe.mp4", SPECIAL), ("socket.mp4", SPECIAL),
    ]  # fmt: skip
    assert found(tmp_path / "*.mp4", tmp_path)[1] == [(".hidden.mp4", HIDDEN)]
    assert found(tmp_path / ".hidden.mp4", tmp_path) == ([".hidden.mp4"], [])
    assert found(tmp_path / ".*.mp4", tmp_path) == ([".hidden.mp4"], [])


UNREADABLE_SCRIPT = """
import sys
from framewatch.ingest import walk
for entry in walk.find_files(sys.argv[1]):
    print(entry.path.rpartition("/")[2], entry.reason, entry.detail, sep="|")
"""


def without_rights(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that may not read everything, though this process may."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and setpriv is missing to take that right from it")
        rights = "-dac_override,-dac_read_search"
        command = ("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command)
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o000, [f"lost+found|{UNREADABLE}|Permission denied"]),
        # Its names can be read, and what they stand for cannot.
        (0o444, [f"b.mp4|{walk.UNKNOWN}|Permission denied", f"deep|{UNREADABLE}|Permission denied"]),
    ],
)
def test_an_unreadable_directory_costs_itself_only(tmp_path: Path, mode: int, expected: list[str]) -> None:
    make(tmp_path, "v/a.mp4", "v/lost+found/b.mp4", "v/lost+found/deep/c.mp4", "v/z/d.mp4")
    (tmp_path / "v/lost+found").chmod(mode)
    for pattern in ("v", "v/*"):
        done = without_rights(sys.executable, "-c", UNREADABLE_SCRIPT, f"{tmp_path}/{pattern}")
        lines = done.stdout.splitlines()
        assert [line for line in lines if "|None|" in line] == ["a.mp4|None|None", "d.mp4|None|None"]
        assert sorted(line for line in lines if "|None|" not in line) == expected, done.stderr
    (tmp_path / "v/lost+found").chmod(0o755)
