"""Small files and paths on any storage: local, DBFS and Volumes mounts, or what fsspec reaches.

Tables are Spark's business; this is for manifests, metrics, and pictures beside them.
"""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

import fsspec

from framewatch.errors import InputError, SetupError
from framewatch.io import access, fences

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):(/.*)$", re.DOTALL)
# Before a percent-encoded path. No other URI of a local file has a host.
_ENCODED = "file://localhost/"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local_path(uri: str) -> str | None:
    """The path under which this machine sees `uri`, or None where it is on remote storage.

    Spark writes local files as `file:/x`, Databricks mounts DBFS under `/dbfs` and Volumes under
    `/Volumes`. Names are taken as they are: Hadoop paths are not percent-encoded. Only after
    `file://localhost/` they are, as `local_uri` writes names that are not UTF-8.
    """
    if uri.lower().startswith(_ENCODED):
        return "/" + os.fsdecode(unquote_to_bytes(uri[len(_ENCODED) :]))
    match = _SCHEME.match(uri)
    if not match:
        return _as_opened(uri)
    scheme, path = match.group(1).lower(), re.sub("^/+", "/", match.group(2))
    if scheme == "file":
        return _as_opened(path)
    if scheme == "dbfs":
        return path if path.startswith("/Volumes/") else f"/dbfs{path}"
    return None


def _as_opened(path: str) -> str:
    """A path of which `open` makes its bytes in UTF-8, whatever the locale."""
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))


def local_uri(path: str) -> str:
    """The URI of an absolute local path, as Spark writes it; one that is not UTF-8 is percent-encoded.

    `local_path` gives the path back.
    """
    name = os.fsencode(path)
    try:
        return "file:" + name.decode()
    except UnicodeDecodeError:  # a name in Latin-1, perhaps; neither Spark nor Arrow holds such text
        return _ENCODED + quote(name.lstrip(b"/"), safe="/*?[]{},!^ ")


def readable(uri: str) -> str:
    """What to open `uri` by: a path where this machine sees the file, else a URI that fsspec knows."""
    return local_path(uri) or re.sub("^s3[an]:", "s3:", uri)


def absolute(uri: str) -> str:
    """`uri` such that it means the same from any working directory."""
    path = local_path(uri)
    return os.path.abspath(path) if path is not None else uri


def join(root: str, *parts: str) -> str:
    """`root` and `parts` with one slash between them."""
    return "/".join([root.rstrip("/") or "/", *(part.strip("/") for part in parts)])


def basename(uri: str) -> str:
    """The last part of a path or URI."""
    return uri.rstrip("/").rpartition("/")[2]


def filesystem(uri: str) -> tuple[Any, str]:
    """Fsspec's file system of `uri`, and its path there.

    It keeps no listings: another writer may have added or removed files since.
    """
    return fsspec.core.url_to_fs(readable(uri), use_listings_cache=False)


def fence_of(uri: str) -> fences.Fence | None:
    """The fence of the output that `uri` lies in, if this run holds a lease there."""
    return next(iter(fences.fences_of(readable(absolute(uri)))), None)


def check_fence(uri: str) -> None:
    """Checks that this run may still write there.

    Raises:
        LockLostError: another run has taken over.
    """
    for fence in fences.fences_of(readable(absolute(uri))):
        fence.check()


def write_bytes(uri: str, data: bytes) -> None:
    """Writes one whole file, making its directories.

    Local files appear at once or not at all: other processes may be reading the old one. Who may read them
    is set by `files.access`.

    Raises:
        LockLostError: another run has taken over the output that it lies in.
    """
    check_fence(uri)
    local = local_path(uri)
    if local is None:
        files, path = filesystem(uri)
        files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with files.transaction, files.open(path, "wb") as file:
            file.write(data)
        return
    # Beside it, as only within one file system a name is given in one step.
    access.make_directory(os.path.dirname(local) or ".")
    part = f"{local}.{os.getpid()}.part"
    try:
        with open(part, "wb", opener=access.opener) as file:
            file.write(data)
        os.replace(part, local)
    finally:
        Path(part).unlink(missing_ok=True)


def write_json(uri: str, value: object) -> None:
    """Writes `value` as indented JSON."""
    write_bytes(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(uri: str) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    files, path = filesystem(uri)
    with files.open(path, "rb") as file:
        return json.load(file)


def matches(directory: str, pattern: str) -> bool:
    """Whether any path below `directory` matches the glob `pattern`."""
    files, path = filesystem(directory)
    return bool(files.glob(f"{escape_glob(path)}/{pattern}"))


def exists(uri: str) -> bool:
    """Whether there is a file or a directory."""
    files, path = filesystem(uri)
    return bool(files.exists(path))


def is_delta(directory: str) -> bool:
    """Whether a Delta table lies there."""
    return matches(directory, "_delta_log/*")


def parquet_files(directory: str, pattern: str) -> tuple[Any, list[str]]:
    """The Parquet files of a table, with their file system; of a Delta table, those of its latest version.

    Raises:
        SetupError: it is a Delta table, and the package deltalake is missing.
    """
    files, path = filesystem(directory)
    if not is_delta(directory):
        return files, sorted(files.glob(f"{escape_glob(path)}/{pattern}"))
    try:
        from deltalake import DeltaTable
    except ImportError as error:
        raise SetupError(
            f"{directory} is a Delta table, and the package deltalake is missing: "
            "pip install 'framewatch[delta]'"
        ) from error
    names: Any = DeltaTable(readable(directory)).get_add_actions(flatten=True)["path"]
    return files, sorted(f"{path}/{unquote(name.as_py())}" for name in names)


def children(directory: str) -> list[str]:
    """Names of what lies in a directory, in order; none where there is none."""
    files, path = filesystem(directory)
    if not files.isdir(path):
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in files.ls(path, detail=False))


def status(uri: str) -> tuple[int, int | None]:
    """Size in bytes, and time of modification in ms since 1970; 0 and None for what is no file in reach.

    The time is that of Spark's own listing to the millisecond: a file of another time is another file.
    """
    try:
        files, path = filesystem(uri)
        info = files.info(path)
        if info["type"] != "file":
            return 0, None
        local = local_path(uri)
        if local is not None:
            return info["size"], os.stat(local).st_mtime_ns // 1_000_000
        return info["size"], (files.modified(path).astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    except Exception:  # of any library behind fsspec; who reads the file tells what is wrong
        return 0, None


def escape_glob(path: str) -> str:
    """`path` as a glob that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def escape_spark_glob(path: str) -> str:
    """`path` as a glob of Spark's that matches it alone."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


def delete(uri: str) -> None:
    """Removes a file or a whole directory, if it is there.

    Raises:
        LockLostError: another run has taken over the output that it lies in.
    """
    check_fence(uri)
    files, path = filesystem(uri)
    if files.exists(path):
        files.rm(path, recursive=True)


def replace_directory(source: str, target: str) -> None:
    """Moves a directory into the place of another, or of none.

    Raises:
        LockLostError: another run has taken over the output that it lies in.
    """
    delete(target)
    files, path = filesystem(target)
    files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    if local_path(target) is not None:
        os.rename(readable(source), readable(target))
        return
    top = filesystem(source)[1]
    names = [name.removeprefix(top) for name in files.find(top)]
    files.copy([top + name for name in names], [path + name for name in names])
    files.rm(top, recursive=True)


def require_writable(directory: str) -> None:
    """Checks, by writing, that results can be kept in `directory`, before hours of work go into them.

    Raises:
        InputError: names the directory and the reason.
    """
    if escape_spark_glob(directory) != directory:
        raise InputError(
            f"output={directory} has one of * ? [ ] {{ }} \\ in it, which Spark takes for wildcards: choose "
            "another directory"
        )
    probe = join(directory, ".framewatch-write-test")
    try:
        write_bytes(probe, b"")
        delete(probe)
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"output={directory} cannot be written ({reason}): give a directory you may write to, output=DIR"
        ) from error
