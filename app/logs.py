"""Log lines leave through one thread with a bounded queue: no request waits for a terminal, a pipe or a disk."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from app.cells import Counter
from app.exchange import JsonObject

FLUSH_EVERY = 0.1
MOST_QUEUED = 20_000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class LineLog:
    """The access log. Lines gather for `FLUSH_EVERY` seconds, then go to a writer thread.

    What comes over `MOST_QUEUED` is dropped and counted.
    """

    def __init__(self, form: str, dropped: Counter, descriptor: int = 1) -> None:
        self._render = _json if form == "json" else _text
        self._dropped = dropped
        self._descriptor = descriptor
        self._lines: list[JsonObject] = []
        self._waiting = 0
        self._flush_due = False
        self._queue: queue.SimpleQueue[list[JsonObject] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="access-log", daemon=True)
        self._thread.start()

    def write(self, line: JsonObject) -> None:
        """Queue a line."""
        if len(self._lines) + self._waiting >= MOST_QUEUED:
            self._dropped.inc()
            return
        self._lines.append(line)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_later(FLUSH_EVERY, self._flush)

    def close(self) -> None:
        """Write what is queued, and end the thread; waits two seconds at most."""
        self._flush()
        self._queue.put(None)
        self._thread.join(2.0)

    def _flush(self) -> None:
        self._flush_due = False
        if self._lines:
            lines, self._lines = self._lines, []
            self._waiting += len(lines)
            self._queue.put(lines)

    def _write_all(self) -> None:
        while (lines := self._queue.get()) is not None:
            data = b"".join([self._render(line) for line in lines])
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self._dropped.inc(len(lines))
            self._waiting -= len(lines)


def _json(line: JsonObject) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def _text(line: JsonObject) -> bytes:
    head = f"{line['ts']:%H:%M:%S} {line['outcome']:<18} {line['model']}"
    rest = " ".join(
        f"{name}={value}" for name, value in line.items() if name not in {"ts", "event", "outcome", "model"}
    )
    return f"{head} {rest}\n".encode()


class JsonFormatter(logging.Formatter):
    """The gateway's own messages, in the same form as the access log."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


def set_up(form: str, level: int = logging.INFO) -> None:
    """Send every logger's messages to standard error, as JSON or as text for a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    maker: Callable[[], logging.Formatter] = (
        JsonFormatter
        if form == "json"
        else lambda: logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    handler.setFormatter(maker())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)
