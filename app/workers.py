"""`--workers N`: one process that starts the workers, replaces those that die, passes signals on, and serves nothing.

The sockets are bound before the first fork and shared. Workers are forked from a process that has no thread and no
event loop; each watches a pipe whose other end only this process holds, so that none outlives it.
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
from types import FrameType

_log = logging.getLogger("sluicegate")

SHORTEST_LIFE = 1.0
"""Seconds. A worker that dies sooner is replaced after a pause, which doubles up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0

Work = Callable[[int, Path], None]
"""Runs one worker: its number, and the folder where the workers keep their metric cells."""


class Supervisor:
    """Keeps `count` workers alive until it is told to stop."""

    def __init__(self, count: int, work: Work) -> None:
        self._count = count
        self._work = work
        self._workers: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._pause = 0.0
        self._alive, self._held = os.pipe()

    def run(self) -> int:
        """Block until every worker has ended; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)
        with tempfile.TemporaryDirectory(prefix="sluicegate-") as folder:
            for worker in range(self._count):
                self._start(worker, Path(folder))
            while self._workers:
                self._reap(Path(folder))
        return 0

    def _start(self, worker: int, folder: Path) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(self._held)
            code = 1
            try:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)
                self._work(worker, folder)
                code = 0
            finally:
                os._exit(code)
        self._workers[pid] = (worker, time.monotonic())

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
        time.sleep(self._pause)
        if not self._stopping:
            self._start(worker, folder)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal passes it
        if number != signal.SIGHUP:
            self._stopping = True
        for pid in list(self._workers):
            os.kill(pid, number)

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
