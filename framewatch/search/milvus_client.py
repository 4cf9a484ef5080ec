"""Opens Milvus, a local file or a server, and reports its errors in one line. Does not import Spark."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewatch.errors import InputError, SetupError
from framewatch.io import access, storage
from framewatch.io.redact import redact

_TOKEN = "FRAMEWATCH_MILVUS_TOKEN"
_CONNECT_S = 10.0
# The names in a directory of Milvus Lite.
_OWN = {
    "LOCK", "collections", "databases", ".database-staging", "aliases.json", "database_properties.json"
}  # fmt: skip
# Words in messages of transient errors. All other errors, such as an invalid request, are not retried.
_PASSING = (
    "unavailable",
    "deadline",
    "timeout",
    "timed out",
    "rate limit",
    "connection",
    "not ready",
    "reset",
)


@dataclass(frozen=True)
class Place:
    """The address of a collection.

    Attributes:
        uri: a local path, or the address of a server.
        collection: the name of the collection.
    """

    uri: str
    collection: str = "framewatch"

    @property
    def is_server(self) -> bool:
        """Whether `uri` is a server, which several processes may write to at once."""
        return self.uri.startswith(("http://", "https://", "tcp://", "unix:"))

    def __str__(self) -> str:
        return f"{redact(self.uri)} ({self.collection})" if self.is_server else self.uri


def connect(place: Place, *, wait_s: float = 10.0) -> Any:
    """Opens a `pymilvus.MilvusClient`.

    Args:
        place: the file or server to open. A server's token is read from FRAMEWATCH_MILVUS_TOKEN in the
            environment.
        wait_s: maximum seconds to wait for another process to close a file.

    Raises:
        SetupError: the extra [search] is not installed.
        InputError: the server is unreachable, or the file is in use or not a Milvus file.
    """
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise _missing(error) from error
    _quiet()
    if not place.is_server:
        return _open_file(place, wait_s)
    try:
        return MilvusClient(place.uri, token=os.environ.get(_TOKEN, ""), timeout=_CONNECT_S)
    except Exception as error:  # from gRPC or Milvus
        raise InputError(
            f"index.uri={place} cannot be reached ({short(error)}): start the server, or mend the address or "
            f"the token in {_TOKEN}"
        ) from error


def disconnect(client: Any, place: Place) -> None:
    """Closes a client. Other processes can then open a local file."""
    with contextlib.suppress(Exception):
        client.close()
    if not place.is_server:
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(place.uri)


def _open_file(place: Place, wait_s: float) -> Any:
    require_milvus(place)
    path = Path(place.uri)
    try:
        import tenacity
        from milvus_lite.exceptions import DataDirLockedError
        from pymilvus import MilvusClient
    except ImportError as error:
        raise _missing(error) from error
    access.make_directory(path.parent)
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(DataDirLockedError),
        wait=tenacity.wait_exponential_jitter(initial=0.1, max=1.0, jitter=0.2),
        stop=tenacity.stop_after_delay(wait_s),
        reraise=True,
    )

    def opened() -> Any:
        with _reasons() as reasons, access.umasked():
            try:
                return MilvusClient(place.uri)
            except Exception as error:
                raise (reasons[-1] if reasons else error) from error

    try:
        return waiting(opened)
    except DataDirLockedError as error:
        raise InputError(
            f"{place} is in use by another process (an index being written, or a page): wait for its end, or "
            "let a server have it, `milvus-lite server --data-dir PATH`, and give index.uri=http://HOST:PORT"
        ) from error
    except Exception as error:
        raise damaged(place, error) from error


def require_milvus(place: Place) -> None:
    """Checks that a path is free or contains Milvus Lite's files, before it is written to or deleted.

    Raises:
        InputError: the path contains something else.
    """
    path = Path(place.uri)
    found = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if path.is_file() or (found and "LOCK" not in found) or found - _OWN:
        raise InputError(
            f"index.uri={place} is no collection of Milvus Lite 3: give another path, or delete it and run "
            "`framewatch index`"
        )


def damaged(place: Place, error: BaseException) -> InputError:
    """Returns the error for a collection that cannot be read."""
    return InputError(
        f"the index {place} cannot be read ({short(error)}): make it anew, `framewatch index --rebuild`"
    )


@contextlib.contextmanager
def _reasons() -> Iterator[list[BaseException]]:
    """Collects the reasons why a file could not be opened, which Milvus Lite writes only to its log."""
    found: list[BaseException] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                found.append(record.exc_info[1])

    logger, handler = logging.getLogger("milvus_lite.server_manager"), Kept()
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True


def _quiet() -> None:
    # These loggers print stack traces of errors that are also raised.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _missing(error: ImportError) -> SetupError:
    return SetupError(f"similar moments need the package {error.name}: pip install 'framewatch[search]'")


def is_passing(error: BaseException) -> bool:
    """Returns whether an error is transient, so that a retry may succeed."""
    if isinstance(error, InputError | SetupError):
        return False
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, ConnectionError | TimeoutError) or any(word in text for word in _PASSING)


def retried(work: Any, *, attempts: int = 6) -> Any:
    """Returns `work()`; retries transient errors with exponential backoff and jitter."""
    import tenacity  # part of the extra [search], without which this module can be imported too

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing),
        wait=tenacity.wait_exponential_jitter(initial=0.2, max=10.0, jitter=0.5),
        stop=tenacity.stop_after_attempt(attempts),
        reraise=True,
    )(work)


def short(error: BaseException) -> str:
    """Returns an error's message in one line of at most 200 characters."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def default_place(output: str, uri: str | None, collection: str) -> Place:
    """Returns the configured place of a collection; by default a file in the output.

    Args:
        output: the output directory.
        uri: the configured path or address; None for the default.
        collection: the configured name of the collection.

    Raises:
        InputError: `uri` is None and the output is on remote storage, where Milvus cannot write a file.
    """
    if uri is not None:
        return Place(uri if Place(uri).is_server else storage.absolute(uri), collection)
    local = storage.local_path(output)
    if local is None:
        raise InputError(
            f"output={output} is on remote storage, where Milvus has no files: give a server or a local "
            "path, index.uri=http://HOST:19530"
        )
    return Place(os.path.join(os.path.abspath(local), "search", "moments.db"), collection)
