"""Small files and paths on any storage: local files, DBFS and Volumes mounts, or fsspec file systems.

Spark writes tables; this module writes manifests, metrics, and pictures.
"""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

import fsspec

from framewatch.errors import InputError, SetupError
from framewatch.io import access, atomic, fences

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):(/.*)$", re.DOTALL)
# Prefix of a percent-encoded path. No other URI of a local file has a host.
_ENCODED = "file://localhost/"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local_path(uri: str) -> str | None:
    """Returns the local path of `uri`, or None if it is on remote storage.

    Spark writes local files as `file:/x`; Databricks mounts DBFS under `/dbfs` and Volumes under `/Volumes`.
    Names are taken literally, because Hadoop paths are not percent-encoded. The exception is
    `file://localhost/`, with which `local_uri` writes names that are not UTF-8.
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
    """Returns a path that `open` encodes as UTF-8 in any locale."""
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))


def local_uri(path: str) -> str:
    """Returns the URI of an absolute local path as Spark writes it, percent-encoded if it is not UTF-8.

    `local_path` is the inverse.
    """
    name = os.fsencode(path)
    try:
        return "file:" + name.decode()
    except UnicodeDecodeError:  # such as a name in Latin-1, which Spark and Arrow cannot represent
        return _ENCODED + quote(name.lstrip(b"/"), safe="/*?[]{},!^ ")


def readable(uri: str) -> str:
    """Returns a local path for `uri` if there is one, else a URI for fsspec."""
    return local_path(uri) or re.sub("^s3[an]:", "s3:", uri)


def absolute(uri: str) -> str:
    """Returns `uri`, or the absolute path of a local `uri`."""
    path = local_path(uri)
    return os.path.abspath(path) if path is not None else uri


def join(root: str, *parts: str) -> str:
    """Joins `root` and `parts` with single slashes."""
    return "/".join([root.rstrip("/") or "/", *(part.strip("/") for part in parts)])


def basename(uri: str) -> str:
    """Returns the last part of a path or URI."""
    return uri.rstrip("/").rpartition("/")[2]


def filesystem(uri: str) -> tuple[Any, str]:
    """Returns the fsspec file system of `uri`, and the path in it.

    The file system does not cache listings, because other processes add and delete files.
    """
    return fsspec.core.url_to_fs(readable(uri), use_listings_cache=False)


def fence_of(uri: str) -> fences.Fence | None:
    """Returns the fence of the output that contains `uri`, if this run holds a lease on it."""
    return next(iter(fences.fences_of(readable(absolute(uri)))), None)


def check_fence(uri: str) -> None:
    """Checks that this run may still write to `uri`.

    Raises:
        LockLostError: another run has taken over.
    """
    for fence in fences.fences_of(readable(absolute(uri))):
        fence.check()


def write_bytes(uri: str, data: bytes) -> None:
    """Writes one whole file, and creates its directories.

    Local files are replaced atomically, because other processes may be reading the old one. The setting
    `files.access` controls who may read them.

    Raises:
        LockLostError: another run has taken over the output that contains it.
    """
    check_fence(uri)
    local = local_path(uri)
    if local is None:
        files, path = filesystem(uri)
        files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with files.transaction, files.open(path, "wb") as file:
            file.write(data)
        return
    access.make_directory(os.path.dirname(local) or ".")
    with atomic.replacing(local) as part, open(part, "wb", opener=access.opener) as file:
        file.write(data)


def write_json(uri: str, value: object) -> None:
    """Writes `value` as indented JSON."""
    write_bytes(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(uri: str) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    files, path = filesystem(uri)
    # Not `open`, which on S3 asks for the size first and fails if the file is replaced before it is read.
    return json.loads(files.cat_file(path))


def matches(directory: str, pattern: str) -> bool:
    """Returns whether any path below `directory` matches the glob `pattern`."""
    files, path = filesystem(directory)
    return bool(files.glob(f"{escape_glob(path)}/{pattern}"))


def exists(uri: str) -> bool:
    """Returns whether a file or a directory exists."""
    files, path = filesystem(uri)
    return bool(files.exists(path))


def is_delta(directory: str) -> bool:
    """Returns whether a directory is a Delta table."""
    return matches(directory, "_delta_log/*")


def parquet_files(directory: str, pattern: str) -> tuple[Any, list[str]]:
    """Returns the file system and the Parquet files of a table; for Delta, those of its latest version.

    Raises:
        SetupError: the table is a Delta table, and the package deltalake is missing.
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
    """Returns the sorted names in a directory; empty if it does not exist."""
    files, path = filesystem(directory)
    if not files.isdir(path):
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in files.ls(path, detail=False))


def status(uri: str) -> tuple[int, int | None]:
    """Returns size in bytes and modification time in epoch milliseconds; 0 and None without access.

    The time equals that of Spark's listing to the millisecond, because it is part of a file's identity.
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
    except Exception:  # each fsspec backend has its own; reading the file reports the problem
        return 0, None


def escape_glob(path: str) -> str:
    """Escapes `path` so that, as a glob, it matches only itself."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def escape_spark_glob(path: str) -> str:
    """Escapes `path` so that, as a glob in Spark, it matches only itself."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


def delete(uri: str) -> None:
    """Deletes a file or a whole directory, if it exists.

    Raises:
        LockLostError: another run has taken over the output that contains it.
    """
    check_fence(uri)
    files, path = filesystem(uri)
    if files.exists(path):
        files.rm(path, recursive=True)


def replace_directory(source: str, target: str) -> None:
    """Moves a directory to `target`, and replaces an existing one.

    Raises:
        LockLostError: another run has taken over the output that contains it.
    """
    delete(target)
    local = local_path(target)
    if local is not None:
        access.make_directory(os.path.dirname(local) or ".")
        os.rename(readable(source), local)
        return
    files, path = filesystem(target)
    files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    top = filesystem(source)[1]
    names = [name.removeprefix(top) for name in files.find(top)]
    files.copy([top + name for name in names], [path + name for name in names])
    files.rm(top, recursive=True)


def require_writable(directory: str) -> None:
    """Checks that `directory` is writable by writing to it, before hours of computation.

    Raises:
        InputError: the directory is not writable, or its name contains wildcards.
    """
    if escape_spark_glob(directory) != directory:
        raise InputError(
            f"output={directory} contains one of * ? [ ] {{ }} \\, which Spark takes for wildcards: choose "
            "another directory"
        )
    probe = join(directory, ".framewatch-write-test")
    try:
        write_bytes(probe, b"")
        delete(probe)
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"output={directory} cannot be written ({reason}): set a directory with write permission"
        ) from error
