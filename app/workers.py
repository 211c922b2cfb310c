"""`--workers N`: one process that starts the workers, replaces those that die, passes signals on, and serves nothing.

The addresses are bound before the first fork; each worker listens for callers with a socket of its own, and all share
the operators'. Workers are forked from a process that has no thread and no event loop; each watches a pipe whose other
end only this process holds, so that none outlives it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_log = logging.getLogger("sluicegate")

SHORTEST_LIFE = 1.0
"""Seconds. A worker that dies sooner is replaced after a pause, which doubles up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0
_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_AWAITED = (*_TOLD, signal.SIGCHLD)
"""Blocked in the supervisor, which takes them one by one: none can come between a look and the wait that follows."""

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
        """Block until every worker has ended; returns the exit code. Signals stay blocked: a late one is for nobody."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # were it ignored, nobody would hear of a worker's end
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        with tempfile.TemporaryDirectory(prefix="sluicegate-") as folder:
            if self._prepare is not None:
                self._prepare(Path(folder))
            for worker in range(self._count):
                self._start(worker, Path(folder))
            while self._workers:
                number = signal.sigwait(_AWAITED)
                if number == signal.SIGCHLD:
                    self._reap(Path(folder))
                else:
                    self._pass_on(number)
        return 0

    def _start(self, worker: int, folder: Path) -> None:
        while self._heard(0):
            pass
        if self._stopping:
            return
        pid = os.fork()
        if pid == 0:
            self._become(worker, folder)
        self._workers[pid] = (worker, time.monotonic())

    def _become(self, worker: int, folder: Path) -> NoReturn:
        code = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of us; the supervisor passes it on once
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker reloads by itself
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            code = self._work(worker, folder)
        finally:
            os._exit(code)

    def _reap(self, folder: Path) -> None:
        """Replace those who have ended; one signal may stand for several."""
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            worker, began = self._workers.pop(pid, (-1, 0.0))
            if worker < 0 or self._stopping:
                continue
            _log.error("a worker died; another takes its place", extra={"worker": worker, "pid": pid, "status": status})
            lived = time.monotonic() - began
            self._pause = min(max(self._pause * 2, 0.1), LONGEST_PAUSE) if lived < SHORTEST_LIFE else 0.0
            until = time.monotonic() + self._pause
            while (left := until - time.monotonic()) > 0 and not self._stopping:
                self._heard(left)
            self._start(worker, folder)

    def _heard(self, seconds: float) -> bool:
        """Wait so long to be told something; whether that was so, and is done."""
        told = signal.sigtimedwait(_TOLD, seconds)
        if told is not None:
            self._pass_on(told.si_signo)
        return told is not None

    def _pass_on(self, number: int) -> None:
        if number != signal.SIGHUP:
            self._stopping = True
            self._on_stop()
        for pid in self._workers:  # each is still ours: only `_reap` buries them
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
