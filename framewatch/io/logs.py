"""Logging for all verbs. Records have a stage and a video, and secrets are redacted.

The output of a verb is also logged. Records go to a log file, if one is configured, and to stderr from
`--log-level` upwards.
"""

import contextlib
import json
import logging
import logging.handlers
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from framewatch.errors import ConfigError
from framewatch.io.redact import redact
from framewatch.io.text import printable

LEVELS = ("debug", "info", "warning", "error")

_ROOT = "framewatch"
_stage: ContextVar[str] = ContextVar("stage", default="-")
# Attributes of framewatch's own records, which pass them as `extra`.
_PRINTED, _VIDEO = "framewatch_printed", "video"


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Context that sets the stage of all records of this thread."""
    token = _stage.set(name)
    try:
        yield
    finally:
        _stage.reset(token)


def get(name: str) -> logging.Logger:
    """Returns a logger of framewatch; pass `extra={"video": uri}` to set the video of a record."""
    return logging.getLogger(f"{_ROOT}.{name}")


def printed(text: str) -> None:
    """Logs text that has been printed, without repeating it on stderr."""
    get("output").info(text, extra={_PRINTED: True})


def log_failure(verb: str, text: str) -> None:
    """Logs the failure of a verb with the traceback of the current exception. The verb prints to stderr."""
    with stage(verb):
        get("cli").error(text, exc_info=True, extra={_PRINTED: True})


class _About(logging.Filter):
    """Adds stage and video to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.stage = _stage.get()
        record.video = str(getattr(record, _VIDEO, None) or "-")
        return True


class _Text(logging.Formatter):
    """Formats a record as a line, followed by its traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return redact(printable(super().format(record), keep="\n\t"))


class _Json(logging.Formatter):
    """Formats a record with its traceback as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "stage": getattr(record, "stage", "-"),
            "video": getattr(record, "video", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            values["trace"] = self.formatException(record.exc_info)
        return json.dumps(redact(values), ensure_ascii=False)


def set_up(
    level: str = "error",
    *,
    file: str | None = None,
    file_level: str = "info",
    as_json: bool = False,
    max_mb: float = 10.0,
    keep: int = 3,
) -> None:
    """Configures logging to stderr and, optionally, to a file; replaces an earlier configuration.

    Args:
        level: the lowest level on stderr.
        file: a local path; its directory is created.
        file_level: the lowest level in the file.
        as_json: whether to write the file as JSON Lines.
        max_mb: size in MiB at which the file is rotated.
        keep: number of rotated files to keep.

    Raises:
        ConfigError: the file cannot be written.
    """
    logger = logging.getLogger(_ROOT)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = False
    line = "%(asctime)s %(levelname)s %(stage)s %(video)s: %(message)s"
    console = logging.StreamHandler()
    console.addFilter(lambda record: not getattr(record, _PRINTED, False))
    _add(logger, console, level, _Text(line))
    if file is not None:
        try:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            kept = logging.handlers.RotatingFileHandler(
                file, maxBytes=int(max_mb * (1 << 20)), backupCount=keep, encoding="utf-8"
            )
        except OSError as error:
            raise ConfigError(
                f"logging.file={file} cannot be written ({error.strerror}): set a path with write permission"
            ) from error
        _add(logger, kept, file_level, _Json() if as_json else _Text(line))
    logger.setLevel(min((handler.level for handler in logger.handlers), default=logging.WARNING))


def _add(logger: logging.Logger, handler: logging.Handler, level: str, formatter: logging.Formatter) -> None:
    handler.setLevel(level.upper())
    handler.setFormatter(formatter)
    handler.addFilter(_About())
    logger.addHandler(handler)
