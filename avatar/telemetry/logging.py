"""Structured logs: an event name and keys, one JSON object a line, never what somebody said."""

import contextvars
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

Value = str | int | float | bool | None

_bound: contextvars.ContextVar[dict[str, Value]] = contextvars.ContextVar("log_keys", default={})  # noqa: B039  never mutated, only replaced


class EventLog:
    """Writes events through the standard library's logging: `log.info("chunk_dropped", seq=3)`.

    Keys are numbers, ids and names. Speech, text, images and tokens never are.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **keys: Value) -> None:
        self._write(logging.DEBUG, event, keys)

    def info(self, event: str, **keys: Value) -> None:
        self._write(logging.INFO, event, keys)

    def warning(self, event: str, **keys: Value) -> None:
        self._write(logging.WARNING, event, keys)

    def error(self, event: str, **keys: Value) -> None:
        self._write(logging.ERROR, event, keys)

    def exception(self, event: str, **keys: Value) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, keys, exc_info=True)

    def _write(
        self, level: int, event: str, keys: dict[str, Value], exc_info: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            bound = {**_bound.get(), **keys}
            self._logger.log(level, event, extra={"keys": bound}, exc_info=exc_info)


def get_logger(name: str) -> EventLog:
    return EventLog(name)


@contextmanager
def bound(**keys: Value) -> Iterator[None]:
    """Add `keys` to every event logged inside, in this task and those it starts."""
    token = _bound.set({**_bound.get(), **keys})
    try:
        yield
    finally:
        _bound.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, then the keys."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Value] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "keys", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(level: int = logging.INFO, stream: TextIO | None = None, path: str = "") -> None:
    """Send this project's events, and only them, as JSON lines to `path`, else to `stream`.

    Without either they go to standard error. Several processes may share a path: a line is
    written at once, at the file's end.
    """
    handler: logging.Handler
    if path:
        handler = logging.FileHandler(path, delay=True)
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("avatar", "services", "training", "__main__"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
