"""What is opened: files of known formats, and never a file that another one names."""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import fsspec
import pytest

from framewatch.errors import VideoError
from framewatch.video.container import FORMATS
from framewatch.video.decoder import Decoding

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells which files were opened")

# Each names another file, or a socket, that FFmpeg opens where it may.
LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{other}'\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\n{other}\n#EXT-X-ENDLIST\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet><Representation id="1" bandwidth="1"><BaseURL>{other}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "IMF": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "</CompositionPlaylist>",
    "lines": "{other}\n",
}


class Opened:
    """The names of the files of a directory that were opened, by whatever code, as the kernel has it."""

    _IN_OPEN = 0x20

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._descriptor, os.fsencode(directory), self._IN_OPEN) >= 0

    def names(self) -> set[str]:
        """What was opened since the last call."""
        found: set[str] = set()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._descriptor, 1 << 16):
                while data:
                    (length,) = struct.unpack_from("I", data, 12)
                    found.add(data[16 : 16 + length].rstrip(b"\0").decode())
                    data = data[16 + length :]
        return found

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    watch = Opened(tmp_path)
    yield watch
    watch.close()


def read(source: str) -> str | None:
    """Reads a video; why it failed, if it did."""
    try:
        list(Decoding(source, 1).samples())
    except VideoError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["x.mp4", "x.m3u8", "x.ts"])
@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_files_are_refused(tmp_path: Path, make_video, opened: Opened, kind: str, name: str) -> None:
    make_video(tmp_path / "other.mp4", codec="libx264")
    listing = tmp_path / name
    listing.write_text(LISTS[kind].format(other="other.mp4"))
    opened.names()
    assert "not a video" in (read(str(listing)) or "")
    assert opened.names() == {name}
    # An object store is no other place.
    fsspec.filesystem("memory").pipe(f"/{name}", LISTS[kind].format(other=tmp_path / "other.mp4").encode())
    assert "not a video" in (read(f"memory://{name}") or "")
    assert opened.names() == set()


def test_ffmpeg_opens_what_a_list_names_where_it_may(tmp_path: Path, make_video, opened: Opened) -> None:
    """Else the tests here could not fail."""
    make_video(tmp_path / "other.mp4", codec="libx264")
    (tmp_path / "x.mp4").write_text(LISTS["ffconcat"].format(other="other.mp4"))
    opened.names()
    with av.open(str(tmp_path / "x.mp4")) as container:
        next(container.decode(video=0))
    assert opened.names() == {"x.mp4", "other.mp4"}


def test_a_track_that_lies_in_another_file_is_not_read(tmp_path: Path, make_video, opened: Opened) -> None:
    """QuickTime's reference movies: the data reference of a track is an alias with a path."""
    path = make_video(tmp_path / "x.mov", codec="libx264")
    make_video(tmp_path / "other.mov", codec="libx264")
    path.write_bytes(with_reference(path.read_bytes(), str(tmp_path / "other.mov")))
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}):
        pass
    assert "other.mov" in opened.names()  # the reference is one that FFmpeg would follow
    assert read(str(path)) is not None
    assert opened.names() == {"x.mov"}


def with_reference(data: bytes, target: str) -> bytes:
    """A QuickTime file, the index last, whose track refers to another file instead of to its own data."""
    name, folder = Path(target).name.encode(), Path(target).parent.name.encode()
    alias = bytearray(150)
    struct.pack_into(">HH", alias, 4, 150, 2)
    alias[10 : 11 + 4] = bytes([4]) + b"disk"
    alias[50 : 51 + len(name)] = bytes([len(name)]) + name
    struct.pack_into(">hh", alias, 130, 1, 1)
    for kind, value in ((2, b"disk:" + target.strip("/").replace("/", ":").encode()), (18, target.encode())):
        alias += struct.pack(">HH", kind, len(value)) + value + b"\0" * (len(value) % 2)
    alias += struct.pack(">HH", 0, len(folder)) + folder + b"\0" * (len(folder) % 2) + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    begin = data.index(b"dref") - 4
    size = struct.unpack_from(">I", data, begin)[0]
    longer = len(entry) - (size - 16)
    data = data[: begin + 16] + entry + data[begin + size :]
    data = bytearray(data)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(box) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + longer)
    return bytes(data)


@pytest.mark.parametrize(
    "name", ["concat:{}|{}", "subfile,,start,0,end,0,,:{}", "image2:%d.jpg", "tee:{}", "data:,x", "file:{}"]
)
def test_names_are_no_protocols(tmp_path: Path, make_video, opened: Opened, name: str) -> None:
    """A file may be called so; nothing else is opened by it."""
    other = make_video(tmp_path / "other.mp4", codec="libx264")
    opened.names()
    assert "the file cannot be read" in (read(name.format(other, other)) or "")
    assert opened.names() == set()


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "a:b.mp4", "%03d.mp4", "-i.mp4", "pipe:0"])
def test_a_file_named_like_a_protocol_is_read(tmp_path: Path, make_video, monkeypatch, name: str) -> None:
    make_video(tmp_path / "x.mp4", codec="libx264").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read(name) is None


def test_formats_are_known_to_ffmpeg() -> None:
    known = {name for names in av.formats_available for name in names.split(",")}
    ours = set(FORMATS.split(","))
    assert ours <= known
    assert not {"concat", "hls", "dash", "sdp", "rtsp", "image2", "lavfi", "tedcaptions"} & ours
