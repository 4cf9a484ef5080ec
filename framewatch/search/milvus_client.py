"""Milvus, a local file or a server: opened, and its errors told in one line. No Spark in here."""

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
# What lies in a directory of Milvus Lite.
_OWN = {
    "LOCK", "collections", "databases", ".database-staging", "aliases.json", "database_properties.json"
}  # fmt: skip
# Nothing but these is worth a second try: a wrong request stays wrong.
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
    """Where a collection is.

    Attributes:
        uri: a local path, or the address of a server.
        collection: its name there.
    """

    uri: str
    collection: str = "framewatch"

    @property
    def is_server(self) -> bool:
        """Whether several processes may write at once."""
        return self.uri.startswith(("http://", "https://", "tcp://", "unix:"))

    def __str__(self) -> str:
        return f"{redact(self.uri)} ({self.collection})" if self.is_server else self.uri


def connect(place: Place, *, wait_s: float = 10.0) -> Any:
    """A `pymilvus.MilvusClient`.

    Args:
        place: what to open. A server's token comes from the environment, FRAMEWATCH_MILVUS_TOKEN.
        wait_s: how long to wait for another process to let go of a file.

    Raises:
        SetupError: the extra [search] is missing.
        InputError: there is no server, or the file is in use or none of Milvus.
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
    except Exception as error:  # of gRPC, or of Milvus
        raise InputError(
            f"index.uri={place} cannot be reached ({short(error)}): start the server, or mend the address or "
            f"the token in {_TOKEN}"
        ) from error


def disconnect(client: Any, place: Place) -> None:
    """Closes a client; of a file, lets other processes have it."""
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
    """Checks that what lies at a path, if anything, is Milvus Lite's: it is written to, and may be deleted.

    Raises:
        InputError: it is something else.
    """
    path = Path(place.uri)
    found = {it.name for it in path.iterdir()} if path.is_dir() else set()
    if path.is_file() or (found and "LOCK" not in found) or found - _OWN:
        raise InputError(
            f"index.uri={place} is no collection of Milvus Lite 3: give another path, or delete it and run "
            "`framewatch index`"
        )


def damaged(place: Place, error: BaseException) -> InputError:
    """What is told of a collection that cannot be read."""
    return InputError(
        f"the index {place} cannot be read ({short(error)}): make it anew, `framewatch index --rebuild`"
    )


@contextlib.contextmanager
def _reasons() -> Iterator[list[BaseException]]:
    """Why a file could not be opened, which Milvus Lite tells its log only."""
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
    # All of them log whole traces of what is raised as well.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _missing(error: ImportError) -> SetupError:
    return SetupError(f"similar moments need the package {error.name}: pip install 'framewatch[search]'")


def is_passing(error: BaseException) -> bool:
    """Whether what went wrong may go well the next time."""
    if isinstance(error, InputError | SetupError):
        return False
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, ConnectionError | TimeoutError) or any(word in text for word in _PASSING)


def retried(work: Any, *, attempts: int = 6) -> Any:
    """`work()`, again after what may pass, at growing and uneven distances."""
    import tenacity  # of the extra [search]: this module is imported without it, too

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing),
        wait=tenacity.wait_exponential_jitter(initial=0.2, max=10.0, jitter=0.5),
        stop=tenacity.stop_after_attempt(attempts),
        reraise=True,
    )(work)


def short(error: BaseException) -> str:
    """An error in some words."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def default_place(output: str, uri: str | None, collection: str) -> Place:
    """The place that a configuration means: by default a file below the output.

    Raises:
        InputError: the output is on remote storage, where no file can be.
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
