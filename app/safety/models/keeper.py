"""Keeps one detector process running for all workers of a gateway.

Every worker has a keeper; the one that holds the lock beside the socket starts the process and starts another when it
dies. A worker that goes takes its process along (it reads end-of-file on its standard input), and the next worker that
gets the lock starts one anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from app.config import Safety
from app.tasks import TaskGroup

_log = logging.getLogger("sluicegate")
LOOK_EVERY = 0.5
"""Seconds between two looks whether the lock is free, or whether a process is wanted by now."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
STEADY = 5.0
"""Seconds. A process that lived as long is replaced at once; after shorter lives the pauses double."""
END_WITHIN = 2.0


class Keeper:
    """`folder` is where the socket and the lock are; `wanted` says with what a process should run now, if at all."""

    def __init__(self, folder: Path, wanted: Callable[[], Safety | None]) -> None:
        self.socket = folder / "detectors.sock"
        self._lock_file = folder / "detectors.lock"
        self._wanted = wanted
        self._tasks = TaskGroup("keeper")
        self._process: asyncio.subprocess.Process | None = None
        self._lock: int | None = None
        self.starts = 0
        """Processes that this keeper has started."""

    def look(self) -> None:
        """Begin to look after the process, in the background, where one is wanted and nobody does yet."""
        if self._wanted() is not None and not len(self._tasks):
            self._tasks.spawn("watch", self._watch())

    @property
    def pid(self) -> int | None:
        """The process, where this keeper has it."""
        return None if self._process is None else self._process.pid

    async def ready(self, within: float) -> bool:
        """Wait until somebody listens at the socket; False when nobody does in time. At once when none is wanted."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while self._wanted() is not None and not self.socket.exists():
            if loop.time() > until:
                return False
            await asyncio.sleep(0.05)
        return True

    async def aclose(self) -> None:
        """End the process, if this keeper has it."""
        await self._tasks.aclose()
        await self._end()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _watch(self) -> None:
        """Until no process is wanted any more."""
        pause = FIRST_PAUSE
        while (wanted := self._wanted()) is not None:
            if not self._holds_lock():
                await asyncio.sleep(LOOK_EVERY)
                continue
            began = asyncio.get_running_loop().time()
            await self._run(wanted)
            lived = asyncio.get_running_loop().time() - began
            pause = FIRST_PAUSE if lived > STEADY else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _holds_lock(self) -> bool:
        if self._lock is not None:
            return True
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    async def _run(self, wanted: Safety) -> None:
        """One life of the process: until it dies, or until another one, or none, is wanted."""
        command = [sys.executable, "-m", "app.safety.models.service", "--socket", str(self.socket)]
        command += ["--profile", wanted.profile, "--queue", str(wanted.queue), "--threads", str(wanted.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env=environment
        )
        self.starts += 1
        try:
            while process.returncode is None and self._wanted() == wanted:
                try:
                    await asyncio.wait_for(process.wait(), LOOK_EVERY)
                except TimeoutError:
                    continue
            if process.returncode is not None:
                _log.error("the detector process died", extra={"pid": process.pid, "status": process.returncode})
        finally:
            await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self.socket.unlink(missing_ok=True)
        if process.returncode is None:
            process.kill()  # it holds nothing that could be lost, and may be stopped
            await asyncio.wait_for(process.wait(), END_WITHIN)
