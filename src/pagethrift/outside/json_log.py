"""The log for programs: one JSON object a line on standard error, for journald, Loki and the like.

A thread of its own writes, from a bounded queue: a reader that does not read loses lines, and the
migration waits for none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import QueueHandler
from typing import Any

from pagethrift.errors import one_line

QUEUED_MAX = 1000
"""lines; at most ten a second are made"""
LAST_WORDS_S = 2.0
"""how long the last lines wait for a reader"""
TEXT_MAX = 1000
STANDARD_ERROR = 2


class JsonFormatter(logging.Formatter):
    """Makes a line: time, level, event, migration, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        data: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.msg,
            **getattr(record, "fields", {}),
        }
        return json.dumps({key: _readable(value) for key, value in data.items()})


def _readable(value: Any) -> Any:
    return one_line(value, TEXT_MAX) if isinstance(value, str) else value


class _Queue(QueueHandler):
    """Hands records over to the writing thread; a full queue drops them."""

    queue: queue.Queue[logging.LogRecord | None]

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop it."""


class JsonLog:
    """The log of one migration."""

    def __init__(self, migration: str, descriptor: int = STANDARD_ERROR) -> None:
        """``migration``: the id in every line."""
        self._about = {"migration": migration}
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUED_MAX)
        self._descriptor = descriptor
        self._formatter = JsonFormatter()
        self._logger = logging.Logger("pagethrift.migration", logging.INFO)  # no logger of others' hears it
        self._logger.addHandler(_Queue(self._queue))
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def say(self, event: str, fields: Mapping[str, object] | None = None, level: int = logging.INFO) -> None:
        """Log an event."""
        self._logger.log(level, event, extra={"fields": {**self._about, **(fields or {})}})

    def close(self) -> None:
        """Write what is queued, if somebody reads."""
        try:
            self._queue.put(None, timeout=LAST_WORDS_S)
        except queue.Full:
            return
        self._thread.join(LAST_WORDS_S)

    def _write(self) -> None:
        """Write past Python's buffers and logging's locks: a write that blocks must not keep the process."""
        while (record := self._queue.get()) is not None:
            left = self._formatter.format(record).encode() + b"\n"
            with contextlib.suppress(OSError):
                while left:
                    left = left[os.write(self._descriptor, left) :]
