"""Log lines: one each, whole, in order; what cannot be written is counted; nobody waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.cells import Cells, Counter
from app.logs import FLUSH_EVERY, MOST_QUEUED, JsonFormatter, LineLog
from tests.support.upstream import ROOT

LINE = {"ts": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), "event": "request", "outcome": "ok", "model": "chat"}


class Written:
    """A log that writes to a pipe, and what came out at its other end."""

    def __init__(self, form: str = "json") -> None:
        self.out, self._in = os.pipe()
        cells = Cells()
        self._cells = cells
        self.log = LineLog(form, Counter(cells, cells.allocate("dropped", (), 1)), self._in)

    @property
    def dropped(self) -> float:
        """How many lines were counted as lost."""
        return float(self._cells.values[0])

    def finish(self) -> list[bytes]:
        """Close it; every line that came."""
        self.log.close()
        os.close(self._in)
        data = b""
        while piece := os.read(self.out, 1 << 20):
            data += piece
        assert data.endswith(b"\n") or not data
        return data.splitlines()


@pytest.fixture
def written() -> Iterator[Written]:
    """A log of JSON lines."""
    made = Written()
    yield made
    made.log.close()
    os.close(made.out)


async def test_lines_come_whole_and_in_order(written: Written) -> None:
    """A thousand of them, within two flushes."""
    for number in range(1000):
        written.log.write({**LINE, "number": number})
    assert [orjson.loads(line)["number"] for line in written.finish()] == list(range(1000))
    assert written.dropped == 0


async def test_lines_are_written_without_being_closed(written: Written) -> None:
    """After `FLUSH_EVERY`, and again for later ones."""
    for number in range(2):
        written.log.write({**LINE, "number": number})
        assert not select.select([written.out], [], [], 0)[0]
        await asyncio.sleep(FLUSH_EVERY + 0.15)
        assert orjson.loads(os.read(written.out, 4096))["number"] == number


async def test_a_line_in_json(written: Written) -> None:
    """Time in UTC as RFC 3339 has it, everything else as it is."""
    written.log.write({**LINE, "cost_usd": 1.5e-07, "detail": 'a\n"b" ü'})
    (line,) = written.finish()
    assert line.startswith(b'{"ts":"2026-01-02T03:04:05.678000Z","event":"request",')
    assert orjson.loads(line) | {"ts": LINE["ts"]} == {**LINE, "cost_usd": 1.5e-07, "detail": 'a\n"b" ü'}


@pytest.mark.parametrize("value", [2**64 * 128, -(2**70), "\ud800"])
@pytest.mark.parametrize("form", ["json", "text"])
async def test_a_value_that_is_too_much_costs_nobody_else_a_line(form: str, value: Any) -> None:
    """A caller may ask for 2^63 tokens a hundred times: the line is written all the same, and those after it."""
    written = Written(form)
    for odd in (value, 1):
        written.log.write({**LINE, "output_tokens": odd})
    first, second = written.finish()
    os.close(written.out)
    assert b"output_tokens" in first
    assert b"2026-01-02T03:04:05.678" in first or form == "text"
    assert second.endswith((b"1}", b"=1"))
    assert written.dropped == 0


async def test_a_line_as_text() -> None:
    """For a terminal: time, outcome and model first, then the rest by name; always one line."""
    written = Written("text")
    written.log.write({**LINE, "status": 200, "detail": "an upstream's\nown\r\nlines"})
    (line,) = written.finish()
    os.close(written.out)
    assert line == b"03:04:05 ok                 chat status=200 detail=an upstream's own lines"


async def test_a_reader_that_does_not_read_stops_nobody(written: Written) -> None:
    """The queue is bounded; what comes over it is dropped, and counted exactly; the rest comes once it is read."""
    fcntl.fcntl(written._in, fcntl.F_SETPIPE_SZ, 4096)
    began = time.monotonic()
    for number in range(MOST_QUEUED + 500):
        written.log.write({**LINE, "number": number})
    await asyncio.sleep(FLUSH_EVERY + 0.1)
    for number in range(10):
        written.log.write({**LINE, "number": number})
    assert written.dropped == 510
    assert time.monotonic() - began < 5
    data = b""
    while data.count(b"\n") < MOST_QUEUED:
        data += os.read(written.out, 1 << 16)
    await asyncio.sleep(0.05)
    written.log.write({**LINE, "number": "last"})
    assert written.finish()[-1].endswith(b'"last"}')
    assert written.dropped == 510


async def test_a_pipe_that_nobody_holds_any_more() -> None:
    """What cannot be written is counted, not raised."""
    written = Written()
    os.close(written.out)
    for _ in range(3):
        written.log.write(dict(LINE))
    written.log.close()
    assert written.dropped == 3


async def test_closing_does_not_wait_for_ever(written: Written) -> None:
    """Two seconds for a pipe that nobody reads."""
    fcntl.fcntl(written._in, fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(1000):
        written.log.write(dict(LINE))
    began = time.monotonic()
    written.log.close()
    assert 1.9 < time.monotonic() - began < 4
    while select.select([written.out], [], [], 0.1)[0]:
        os.read(written.out, 1 << 20)


SHARED = """
import asyncio, sys
from app.cells import Cells, Counter
from app.logs import LineLog

async def main():
    cells = Cells()
    log = LineLog("json", Counter(cells, cells.allocate("dropped", (), 1)), shared=True)
    for number in range(3000):
        log.write({"who": sys.argv[1], "number": number, "pad": "x" * (number % 900)})
        if number % 500 == 0:
            await asyncio.sleep(0.11)
    log.close()

asyncio.run(main())
"""


def test_several_processes_write_whole_lines_to_one_pipe() -> None:
    """Larger writes than a pipe takes whole would be mixed up."""
    out, into = os.pipe()
    commands = [[sys.executable, "-c", SHARED, who] for who in "abc"]
    writers = [subprocess.Popen(command, cwd=ROOT, stdout=into) for command in commands]
    os.close(into)
    with os.fdopen(out, "rb") as reader:
        lines = [orjson.loads(line) for line in reader]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for who in "abc":
        assert [line["number"] for line in lines if line["who"] == who] == list(range(3000))


def fail() -> None:
    """Something to be logged."""
    raise RuntimeError("on purpose")


def message(**extra: Any) -> logging.LogRecord:
    """A message of the gateway's own."""
    return logging.getLogger("sluicegate").makeRecord(
        "sluicegate", logging.WARNING, "file.py", 1, "a %s", ("word",), extra.pop("exc_info", None), extra=extra
    )


def test_a_message_in_json() -> None:
    """The same form as the access log, with what was given beside it."""
    line = orjson.loads(JsonFormatter().format(message(worker=3, problems=[{"path": "a.b"}], path=Path("/x"))))
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("ts"))
    assert line == {
        "level": "warning", "logger": "sluicegate", "event": "a word",
        "worker": 3, "problems": [{"path": "a.b"}], "path": "/x",
    }  # fmt: skip


def test_a_failure_in_json() -> None:
    """The stack stands inside the one line."""
    with pytest.raises(RuntimeError) as raised:
        fail()
    text = JsonFormatter().format(message(exc_info=(raised.type, raised.value, raised.tb)))
    assert "\n" not in text
    assert "RuntimeError: on purpose" in orjson.loads(text)["exception"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_every_loggers_messages_go_to_stderr(form: str) -> None:
    """The libraries' own chatter stays away; warnings of theirs do not."""
    code = f"""
import logging
from app import logs
logs.set_up({form!r})
logging.getLogger("sluicegate").info("ours", extra={{"worker": 1}})
logging.getLogger("uvicorn.error").info("theirs")
logging.getLogger("httpx2").info("theirs")
logging.getLogger("uvicorn.error").warning("serious")
logging.getLogger("sluicegate").debug("detail")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert ("ours" in first, "serious" in second) == (True, True)
    assert first.startswith("{") is (form == "json")
