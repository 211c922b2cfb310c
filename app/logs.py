"""Log lines leave through one thread with a bounded queue: no request waits for a terminal, a pipe or a disk."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import select
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from app.cells import Counter
from app.exchange import JsonObject
from app.tasks import make_way

LOG_FIELDS: dict[str, str] = {
    "ts": "UTC time at which the request ended, RFC 3339.",
    "event": "`request` for the access line.",
    "request_id": "The `x-request-id` of the response.",
    "trace_id": "The trace that the request belongs to; absent without tracing and without a `traceparent`.",
    "span_id": "The request's own span in it.",
    "operation": "OpenTelemetry's `gen_ai.operation.name`.",
    "model": "The public model name, `-` if no such model is configured.",
    "deployment": "The deployment that answered last, if any was called.",
    "arm": "Its role.",
    "tenant": "Who pays.",
    "key": "The name of the key that was shown.",
    "outcome": "How the request ended.",
    "status": "The HTTP status that the caller got; absent when it left before one was sent.",
    "code": "The error code, on errors.",
    "stream": "Whether the answer was streamed.",
    "prompt_bound": "The most tokens that the prompt could have when it was sent.",
    "count": "How that was found: exact, tokenizer (text by vocabulary, template at its bound), bound (from bytes).",
    "template": "Name and version of the prompt template that was put before the caller's messages.",
    "purpose": "What a call of the gateway's own is for: summary, chunk, guard. Its id begins with its request's.",
    "fit": "What was done to make the request fit the context window.",
    "attempts": "Upstream attempts made.",
    "input_tokens": "Input tokens charged.",
    "output_tokens": "Output tokens charged.",
    "usage": "How they were counted: exact, at_least, bound, nothing_sent.",
    "cost_usd": "What the request cost.",
    "duration_ms": "From arrival to the last byte.",
    "first_token_ms": "Streams: from arrival to the first byte of the answer.",
    "overhead_ms": "The gateway's own share of the duration.",
    "guard": "The guard that looked at the request, if any did.",
    "guard_hits": "What it found: a list of stage, category, severity, detector, action and count.",
    "guard_failures": "Detectors that gave no verdict: a list of detector, reason and count.",
    "guard_hold_ms": "The longest that text of the answer was held back.",
    "detail": "On upstream failures: what was seen, for operators.",
}
"""Every field of the access line. Prompt and completion text never is one."""


FLUSH_EVERY = 0.1
MOST_QUEUED = 20_000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class LineLog:
    """The access log. Lines gather for `FLUSH_EVERY` seconds, then go to a writer thread.

    A line is rendered at once, while what it holds is still in the processor's caches: later, in the thread, the same
    takes 4 µs more. What comes over `MOST_QUEUED` is dropped and counted. `shared` is for a descriptor to which
    several processes write: then lines leave in pieces that a pipe takes whole.
    """

    def __init__(self, form: str, dropped: Counter, descriptor: int = 1, *, shared: bool = False) -> None:
        self._render = _json if form == "json" else _text
        self._dropped = dropped
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._most = select.PIPE_BUF if shared else sys.maxsize
        # Each of these three numbers is changed by one thread only: `+=` is no atomic operation.
        self._queued = 0
        self._done = 0
        self._failed = 0
        self._told = 0
        self._flush_due = False
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._write_all, name="access-log", daemon=True)
        self._worker.start()

    def write(self, line: JsonObject) -> None:
        """Queue a line."""
        if len(self._lines) + self._queued - self._done >= MOST_QUEUED:
            self._dropped.inc()
            return
        self._lines.append(self._render(line))
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_later(FLUSH_EVERY, self._flush)

    def close(self) -> None:
        """Write what is queued, and end the thread; waits two seconds at most."""
        self._flush()
        self._queue.put(None)
        self._worker.join(2.0)
        self._tell()

    def _flush(self) -> None:
        self._flush_due = False
        self._tell()
        if self._lines:
            lines, self._lines = self._lines, []
            self._queued += len(lines)
            self._queue.put(lines)

    def _tell(self) -> None:
        """Count what the thread could not write: metrics belong to the event loop."""
        failed = self._failed
        self._dropped.inc(failed - self._told)
        self._told = failed

    def _write_all(self) -> None:
        make_way()
        while (lines := self._queue.get()) is not None:
            for count, data in self._pieces(lines):
                try:
                    self._write(data)
                except OSError:
                    self._failed += count
            self._done += len(lines)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _pieces(self, lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Lines put together to writes, with how many each holds."""
        held: list[bytes] = []
        size = 0
        for line in lines:
            if held and size + len(line) > self._most:
                yield len(held), b"".join(held)
                held, size = [], 0
            held.append(line)
            size += len(line)
        yield len(held), b"".join(held)


def _json(line: JsonObject) -> bytes:
    try:
        # `+` copies: what orjson makes takes 8 KiB, and hundreds of lines wait: 1 µs each for memory in no cache.
        return orjson.dumps(line, option=orjson.OPT_UTC_Z) + b"\n"
    except TypeError:  # a number beyond 64 bits: a caller may ask for as many tokens
        return json.dumps(line, default=datetime.isoformat).encode() + b"\n"


def _text(line: JsonObject) -> bytes:
    head = f"{line['ts']:%H:%M:%S} {line['outcome']:<18} {line['model']}"
    rest = " ".join(
        f"{name}={value}" for name, value in line.items() if name not in {"ts", "event", "outcome", "model"}
    )
    return " ".join(f"{head} {rest}".splitlines()).encode(errors="backslashreplace") + b"\n"


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
        line.update(_extra(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


class TextFormatter(logging.Formatter):
    """The same for a terminal: time, level and event, then the rest by name."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """The first line; what follows it is a stack."""
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in _extra(record).items())


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def set_up(form: str, level: int = logging.INFO) -> None:
    """Send every logger's messages to standard error, as JSON or as text for a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)
