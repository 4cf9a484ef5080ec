"""Opens files of known container formats. FFmpeg reads only the bytes of the file and opens no other file."""

import os
import re
import stat
from typing import Any, BinaryIO, NoReturn

import av

from framewatch.errors import UnreadableError, VideoError
from framewatch.io import storage

# Names of FFmpeg's demuxers, without playlists, file lists, image sequences and devices, which make FFmpeg
# open other files.
FORMATS = (
    "mov,matroska,avi,asf,mxf,flv,live_flv,kux,ogg,nut,ivf,dv,gxf,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,"
    "vvc,evc,vc1,obu,av1,mjpeg,mpjpeg,smjpeg,mjpeg_2000,yuv4mpegpipe,dirac,cavsvideo,avs2,avs3,dhav,iv8,ipmovie,"
    "mgsts,lvf,nuv,pva,wtv,rm"
)
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}

# Block size for object storage. The default of s3fs, 50 MB, would copy most short videos completely.
_BLOCK_BYTES = 4 << 20
# FFmpeg's I/O buffer. With its default, 32 kB, it would call Python more often.
_BUFFER_BYTES = 256 << 10

_HAS_INDEX = 0x10  # a flag of AVI headers
_TAIL_BYTES = 128 << 10  # more than two packets of a program stream

_prints = False


def open_file(source: str) -> Any:
    """Opens a local path, or a URI that fsspec reads, as a binary file without copying it.

    Raises:
        VideoError: the file is empty, or not a regular file.
        UnreadableError: the file is missing, or the storage denies access or fails.
    """
    try:
        if "://" in source:
            filesystem, path = storage.filesystem(source)
            file = filesystem.open(path, "rb", block_size=_BLOCK_BYTES)
            size = file.size
        else:
            file, size = _open_local(source)
    except ImportError as error:
        raise UnreadableError(f"a package is missing on the worker: {error}") from error
    except OSError as error:
        raise UnreadableError(f"the file cannot be read: {error.strerror or error}") from error
    if not size:
        file.close()
        raise VideoError("the file is empty")
    return file


def _open_local(path: str) -> tuple[BinaryIO, int]:
    status = os.stat(path)  # checked before opening, because opening a pipe would block
    if stat.S_ISDIR(status.st_mode):
        raise VideoError("a directory, not a video file")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("not a regular file")
    return open(path, "rb", buffering=0), status.st_size


def open_container(file: Any) -> Any:
    """Opens a file's container with PyAV.

    Raises:
        VideoError: the content is not a video, or its format is not one of `FORMATS`.
    """
    try:
        return av.open(
            file, options=_OPTIONS, io_open=_refuse, buffer_size=_BUFFER_BYTES, metadata_errors="ignore"
        )
    except av.error.ArgumentError as error:
        raise VideoError(
            "not a video: FFmpeg takes the content for a playlist or another format that framewatch does not "
            "open; convert the file to MP4 or Matroska"
        ) from error
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise VideoError(f"not a video that FFmpeg can read: {reason}") from error
    except OSError as error:
        raise UnreadableError(f"the file cannot be read: {error.strerror or error}") from error


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise VideoError(f"the file refers to another file, {url}: framewatch reads only the file itself")


def is_whole(file: Any) -> bool | None:
    """Returns True or False if the first and last bytes show that a file is complete or truncated, else None.

    A complete Matroska file, or AVI file without an index, may have a wrong duration in its header.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4096)
    if head[:4] == b"\0\0\1\xba":
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
        whole = _ends_whole(tail)
    else:
        whole = _matches_stated_size(head, size)
    file.seek(0)
    return whole


def _ends_whole(tail: bytes) -> bool | None:
    """Returns False if the last packet (PES) of a program stream is truncated, else None."""
    *_, last = [None, *re.finditer(rb"\x00\x00\x01[\xbb-\xff](..)", tail, re.DOTALL)]
    return False if last and last.end() + int.from_bytes(last[1], "big") > len(tail) else None


def _matches_stated_size(head: bytes, size: int) -> bool | None:
    for step, first in ((188, 0), (192, 4), (204, 0)):  # packets of transport streams
        if len(head) > first + 3 * step and {head[first + step * number] for number in range(4)} == {0x47}:
            return False if size % step else None
    if head[:4] == b"RIFF":
        has_all = 0 < int.from_bytes(head[4:8], "little") <= size - 8
        return True if has_all and not head[44] & _HAS_INDEX else None
    begin = head.find(b"\x18\x53\x80\x67")  # Matroska's Segment; its size is a number of variable length
    if head[:4] != b"\x1a\x45\xdf\xa3" or begin < 0 or begin + 12 > len(head):
        return None
    length = 9 - head[begin + 4].bit_length()
    unknown = (1 << 7 * length) - 1
    stated = int.from_bytes(head[begin + 4 : begin + 4 + length], "big") & unknown
    return True if stated != unknown and begin + 4 + length + stated <= size else None


def log_errors_to_stderr() -> None:
    """Sends FFmpeg's error messages to stderr from now on."""
    global _prints
    _prints = True
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)


def late_streams(container: Any) -> list[str]:
    """Describes video streams that FFmpeg found only while reading. PyAV exposes them only as text."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        printed = container.dumps_format()
    finally:
        av.logging.set_level(level)
        if _prints:
            log_errors_to_stderr()
    found = re.findall(r"Stream #0:(\d+)(?:\[(0x[0-9a-f]+)\])?[^:\n]*: Video: (\w+)", printed)
    return [
        f"video stream {index} ({codec}{', id ' + pid if pid else ''})"
        for index, pid, codec in found
        if int(index) >= len(container.streams)
    ]
