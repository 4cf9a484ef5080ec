"""What is logged: one set-up for all verbs. Records have a stage and a video; none has a secret.

What a verb prints is its result, and goes to the log as well. The log itself goes to a file, where one is
configured, and from `--log-level` on to stderr.
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
# Of our own records; what a library hands over as `extra` is its own business.
_PRINTED, _VIDEO = "framewatch_printed", "video"


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Names the stage of all records from here on, in this thread."""
    token = _stage.set(name)
    try:
        yield
    finally:
        _stage.reset(token)


def get(name: str) -> logging.Logger:
    """A logger of framewatch; `extra={"video": uri}` says which video a record is about."""
    return logging.getLogger(f"{_ROOT}.{name}")


def printed(text: str) -> None:
    """Logs what has been printed, which stderr need not have again."""
    get("output").info(text, extra={_PRINTED: True})


def failed(verb: str, text: str) -> None:
    """Logs how a verb ended, with the trace of the error being handled; stderr is told by the verb."""
    with stage(verb):
        get("cli").error(text, exc_info=True, extra={_PRINTED: True})


class _About(logging.Filter):
    """Gives each record its stage and its video."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.stage = _stage.get()
        record.video = str(getattr(record, _VIDEO, None) or "-")
        return True


class _Text(logging.Formatter):
    """A record as a line, and its trace below."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return redact(printable(super().format(record), keep="\n\t"))


class _Json(logging.Formatter):
    """A record as a line of JSON, trace and all."""

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
    """Sends framewatch's records to stderr and, if wanted, to a file; called again, it begins anew.

    Args:
        level: from which on stderr has them.
        file: a local path; its directory is made.
        file_level: from which on the file has them.
        as_json: lines of JSON in the file.
        max_mb: the file is put aside when it is so large.
        keep: how many of those put aside are kept.

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
                f"logging.file={file} cannot be written ({error.strerror}): give a path you may write to"
            ) from error
        _add(logger, kept, file_level, _Json() if as_json else _Text(line))
    logger.setLevel(min((handler.level for handler in logger.handlers), default=logging.WARNING))


def _add(logger: logging.Logger, handler: logging.Handler, level: str, formatter: logging.Formatter) -> None:
    handler.setLevel(level.upper())
    handler.setFormatter(formatter)
    handler.addFilter(_About())
    logger.addHandler(handler)
