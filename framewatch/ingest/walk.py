"""Finds video files on local paths, in plain Python. Handles any file name and reports skipped names."""

import errno
import fnmatch
import os
import re
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from framewatch.video.suffixes import VIDEO_SUFFIXES

WILDCARD = re.compile(r"[*?\[{]")

# Why a name is skipped, and the plural.
HIDDEN = "hidden name"
NO_SUFFIX = "file without a video suffix"
REPEATED = "link to something already listed"
DANGLING = "dangling link"
UNREADABLE = "unreadable directory"
UNKNOWN = "unreadable name"
SPECIAL = "special file"
NO_VIDEOS = "directory named like a video"
PLURALS = {
    HIDDEN: "hidden names",
    NO_SUFFIX: "files without a video suffix",
    REPEATED: "links to something already listed",
    DANGLING: "dangling links",
    UNREADABLE: "unreadable directories",
    UNKNOWN: "unreadable names",
    SPECIAL: "special files",
    NO_VIDEOS: "directories named like videos",
}


@dataclass(frozen=True)
class Entry:
    """A video, or a skipped name.

    Attributes:
        path: absolute; bytes that are not UTF-8 are escaped as by `os.fsdecode`.
        size_bytes: 0 for an empty file and for anything but a file.
        modified_ms: epoch milliseconds; None for an empty file and for anything but a file.
        reason: why the name was skipped; None for a video.
        detail: the error message of the operating system, if any.
    """

    path: str
    size_bytes: int = 0
    modified_ms: int | None = None
    reason: str | None = None
    detail: str | None = None


def has_video_suffix(name: str) -> bool:
    """Returns whether a path or URI ends in one of `VIDEO_SUFFIXES`, in upper or lower case."""
    return name.rstrip("/").rpartition(".")[2].lower() in VIDEO_SUFFIXES


def find_files(pattern: str) -> Iterator[Entry]:
    """Yields the entries for a pattern: a file, a directory (searched recursively), or a glob of those.

    An existing path is taken literally, even if its name contains wildcards. A file that several symbolic
    links lead to appears once, under the path with the fewest links.

    Args:
        pattern: an absolute path, perhaps with `*`, `?`, `[...]` and `{a,b}`.
    """
    top, rest = fixed_local_part(pattern)
    if not os.path.lexists(top):
        return
    # A last component with a dot, such as `*.dat`, selects files with any suffix.
    named = not rest or "." in rest.rpartition("/")[2].strip(".")
    tops = _matches(top, rest) if rest else [top]
    yield from _Walk(top).entries(tops, named=named, links_last=bool(rest))


def fixed_local_part(pattern: str) -> tuple[str, str]:
    """Splits a pattern into a fixed path and a glob; wildcards in existing names count as literal."""
    if os.path.lexists(pattern):
        return pattern.rstrip("/") or "/", ""
    parts = pattern.rstrip("/").split("/")
    for number, part in enumerate(parts):
        if WILDCARD.search(part) and not os.path.lexists("/".join(parts[: number + 1])):
            return "/".join(parts[:number]) or ("/" if number else "."), "/".join(parts[number:])
    return "/".join(parts), ""


def _matches(top: str, pattern: str) -> Iterator[str | Entry]:
    """Yields the paths below `top` that match a glob, and an entry for each name that was skipped."""
    part, rest = _first_part(pattern)
    path = os.path.join(top, part)
    if os.path.lexists(path):
        yield from _matches(path, rest) if rest else [path]
    elif alternatives := _alternatives(part):
        for alternative in alternatives:
            yield from _matches(top, "/".join([alternative, rest] if rest else [alternative]))
    elif WILDCARD.search(part):
        for name in _matching_names(top, part):
            if isinstance(name, Entry):
                yield name
            elif rest:
                yield from _matches(os.path.join(top, name), rest)
            else:
                yield os.path.join(top, name)


def _first_part(pattern: str) -> tuple[str, str]:
    """Splits at the first slash outside braces."""
    depth = 0
    for index, letter in enumerate(pattern):
        depth += (letter == "{") - (letter == "}" and depth > 0)
        if letter == "/" and not depth:
            return pattern[:index], pattern[index + 1 :]
    return pattern, ""


def _alternatives(part: str) -> list[str]:
    """Expands the first braces, `a{b,c}` to `ab` and `ac`; returns an empty list without braces."""
    begin = part.find("{")
    depth, commas = 0, [begin]
    for index in range(begin, len(part)) if begin >= 0 else ():
        depth += (part[index] == "{") - (part[index] == "}")
        if part[index] == "," and depth == 1:
            commas.append(index)
        if not depth:
            ends = [*commas[1:], index]
            return [
                part[:begin] + part[a + 1 : b] + part[index + 1 :] for a, b in zip(commas, ends, strict=True)
            ]
    return []


def _matching_names(top: str, part: str) -> Iterator[str | Entry]:
    try:
        names = sorted(os.listdir(top))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield Entry(top, reason=UNREADABLE, detail=error.strerror)
        return
    # Same as Spark's globs: `[^a]` matches anything but a, and a backslash escapes the next character.
    shell = re.sub(r"\\(.)", r"[\1]", part.replace("[^", "[!"))
    for name in names:
        if fnmatch.fnmatchcase(name, shell):
            is_hidden = name.startswith(".") and not part.startswith(".")
            yield Entry(os.path.join(top, name), reason=HIDDEN) if is_hidden else name


class _Walk:
    """Walks directories first and symbolic links after them, so that real paths take precedence."""

    def __init__(self, top: str) -> None:
        self._top = os.path.realpath(top)
        self._directories: deque[tuple[str, str, bool]] = deque()  # path, real path, whether behind a link
        self._links: deque[tuple[str, bool]] = deque()  # path, whether the pattern names it
        self._seen: set[str] = set()  # real paths of visited directories
        self._files: set[str] = set()  # real paths of files outside the visited directories
        self._holding: set[str] = set()  # directories that contain videos
        self._like_videos: list[tuple[str, bool]] = []

    def entries(self, tops: Iterable[str | Entry], *, named: bool, links_last: bool) -> Iterator[Entry]:
        """Yields all entries at or below `tops`; if `named`, a file in `tops` needs no video suffix."""
        for top in tops:
            if isinstance(top, Entry):
                yield top
            elif links_last and os.path.islink(top):
                self._links.append((top, named))
            else:
                yield from self._found(top, os.path.realpath(top), named=named)
        while self._directories or self._links:
            if self._directories:
                yield from self._directory(*self._directories.popleft())
            else:
                path, is_named = self._links.popleft()
                yield from self._found(path, os.path.realpath(path), named=is_named, is_link=True)
        for path, is_named in self._like_videos:
            if path not in self._holding:
                yield Entry(path, reason=None if is_named else NO_VIDEOS)

    def _directory(self, path: str, real: str, behind_link: bool) -> Iterator[Entry]:
        if real in self._seen:
            if behind_link:
                yield Entry(path, reason=REPEATED)
            return
        self._seen.add(real)
        try:
            with os.scandir(path) as found:
                names = sorted(found, key=lambda name: name.name)
        except OSError as error:
            self._like_videos = [like for like in self._like_videos if like[0] != path]
            yield Entry(path, reason=UNREADABLE, detail=error.strerror)
            return
        for name in names:
            real_path = os.path.join(real, name.name)
            if name.name.startswith("."):
                yield Entry(name.path, reason=HIDDEN)
            elif name.is_symlink():
                self._links.append((name.path, False))
            elif _is_directory(name):
                self._enter(name.path, real_path, named=False, behind_link=behind_link)
            elif not has_video_suffix(name.name):
                yield Entry(name.path, reason=NO_SUFFIX)
            else:
                yield from self._found(name.path, real_path, named=False)

    def _enter(self, path: str, real: str, *, named: bool, behind_link: bool) -> None:
        self._directories.append((path, real, behind_link))
        if has_video_suffix(path):
            self._like_videos.append((path, named))

    def _found(self, path: str, real: str, *, named: bool, is_link: bool = False) -> Iterator[Entry]:
        try:
            status = os.stat(path)
        except OSError as error:
            is_gone = error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
            yield Entry(path, reason=DANGLING if is_gone else UNKNOWN, detail=error.strerror)
            return
        if stat.S_ISDIR(status.st_mode):
            if is_link and (real in self._seen or self._contains_top(real)):
                yield Entry(path, reason=REPEATED)
            else:
                self._enter(path, real, named=named, behind_link=is_link)
        elif not named and not has_video_suffix(path):
            yield Entry(path, reason=NO_SUFFIX)
        elif real in self._files or (is_link and self._is_listed(real)):
            yield Entry(path, reason=REPEATED)
        elif not stat.S_ISREG(status.st_mode):
            yield Entry(path, reason=None if named else SPECIAL)
        else:
            yield self._video(path, real, status)

    def _video(self, path: str, real: str, status: os.stat_result) -> Entry:
        if os.path.dirname(real) not in self._seen:
            self._files.add(real)
        above = os.path.dirname(path)
        while above not in self._holding:
            self._holding.add(above)
            above = os.path.dirname(above)
        if not status.st_size:
            return Entry(path)
        return Entry(path, status.st_size, status.st_mtime_ns // 1_000_000)

    def _contains_top(self, real: str) -> bool:
        """Returns whether a directory is the top of the search or one of its parents."""
        return f"{self._top}/".startswith(f"{real.rstrip('/')}/")

    def _is_listed(self, real: str) -> bool:
        above, name = os.path.split(real)
        return above in self._seen and has_video_suffix(name) and not name.startswith(".")


def _is_directory(name: os.DirEntry[str]) -> bool:
    try:
        return name.is_dir(follow_symlinks=False)
    except OSError:  # some file systems need a stat call for the type, and it can fail
        return False
