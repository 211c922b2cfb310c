"""`--workers N`: one process that starts the workers, replaces those that die, passes signals on, and serves nothing.

The addresses are bound before the first fork; each worker listens for callers with a socket of its own, and all share
the operators'. Workers are forked from a process that has no thread and no event loop; each watches a pipe whose other
end only this process holds, so that none outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

_log = logging.getLogger("sluicegate")

SHORTEST_LIFE = 1.0
"""Seconds. A worker that dies sooner is replaced after a pause, which doubles up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Work = Callable[[int, Path], int]
"""Runs one worker: its number, and the folder where the workers keep their metric cells. Returns its exit code."""


class Supervisor:
    """Keeps `count` workers alive until it is told to stop; then it calls `on_stop`, once or more often.

    `prepare` gets the folder that workers share before the first of them begins.
    """

    def __init__(
        self, count: int, work: Work, on_stop: Callable[[], None], prepare: Callable[[Path], None] | None = None
    ) -> None:
        self._prepare = prepare
        self._count = count
        self._work = work
        self._on_stop = on_stop
        self._workers: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._pause = 0.0
        self._alive, self._held = os.pipe()

    def run(self) -> int:
        """Block until every worker has ended; returns the exit code."""
        for number in _HANDLED:
            signal.signal(number, self._pass_on)
        with tempfile.TemporaryDirectory(prefix="sluicegate-") as folder:
            if self._prepare is not None:
                self._prepare(Path(folder))
            for worker in range(self._count):
                self._start(worker, Path(folder))
            while self._workers:
                self._reap(Path(folder))
        return 0

    def _start(self, worker: int, folder: Path) -> None:
        # Signals wait until the fork is over: in between, the child would take them, and nobody would pass them on.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        if not self._stopping:
            pid = os.fork()
            if pid == 0:
                self._become(worker, folder)
            self._workers[pid] = (worker, time.monotonic())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def _become(self, worker: int, folder: Path) -> NoReturn:
        code = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of us; the supervisor passes it on once
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker reloads by itself
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            code = self._work(worker, folder)
        finally:
            os._exit(code)

    def _reap(self, folder: Path) -> None:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            self._workers.clear()
            return
        worker, began = self._workers.pop(pid, (-1, 0.0))
        if worker < 0 or self._stopping:
            return
        _log.error("a worker died; another takes its place", extra={"worker": worker, "pid": pid, "status": status})
        lived = time.monotonic() - began
        self._pause = min(max(self._pause * 2, 0.1), LONGEST_PAUSE) if lived < SHORTEST_LIFE else 0.0
        until = time.monotonic() + self._pause
        while time.monotonic() < until and not self._stopping:
            time.sleep(0.05)
        self._start(worker, folder)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal passes it
        if number != signal.SIGHUP:
            self._stopping = True
            self._on_stop()
        for pid in list(self._workers):
            with contextlib.suppress(ProcessLookupError):  # it has just been reaped
                os.kill(pid, signal.SIGHUP if number == signal.SIGHUP else signal.SIGTERM)

    @property
    def lifeline(self) -> int:
        """The descriptor that reads end-of-file once the supervisor is gone."""
        return self._alive


def follow(lifeline: int, stop: Callable[[], None]) -> None:
    """Call `stop` in the running loop when whoever holds the other end of `lifeline` is gone."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        if not os.read(lifeline, 4096):
            loop.remove_reader(lifeline)
            stop()

    loop.add_reader(lifeline, gone)
