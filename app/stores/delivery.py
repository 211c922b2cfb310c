"""From the spools of one host into the ledger: one process per host reads what its workers wrote and inserts it.

Everything here may be done twice: the ledger takes a request once, by its id. A segment is removed when all its requests
are in the ledger and its worker has left it; the requests that a dead worker left open go in at their bound.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from app.entry import Entry, decode
from app.stores.spool import unpack

BATCH = 500
"""Rows in one insertion at most."""

_TURN_S = 0.25
_READ_BYTES = 4 * 1024 * 1024
_log = logging.getLogger("sluicegate")


class SinkUnavailable(Exception):
    """The database did not take the rows. They stay in the spool."""


class Sink(Protocol):
    """Where entries go (`sql.Ledger`)."""

    async def insert(self, entries: Sequence[Entry]) -> None:
        """Insert those that are not there yet. All or nothing; raises SinkUnavailable."""
        ...


class _Segment:
    """A segment that is read. `opened` holds what began in it and is not in the ledger yet."""

    __slots__ = ("at", "opened", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self.opened: set[str] = set()


class _Worker:
    """What one worker wrote: its segments, its open requests, and the closed ones that wait for the ledger."""

    __slots__ = ("closed", "name", "opened", "segments")

    def __init__(self, name: str) -> None:
        self.name = name
        self.segments: dict[str, _Segment] = {}
        self.opened: dict[str, tuple[_Segment, bytes]] = {}
        self.closed: dict[str, bytes] = {}


class Delivery:
    """Reads the spools in `folder`. Run `keep_delivering` in a background task of every worker: one of them is let in.

    `damaged` counts records that could not be read.
    """

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.damaged = 0
        self.delivered = 0
        self._folder = folder
        self._sink = sink
        self._workers: dict[str, _Worker] = {}
        self._lock: int | None = None

    @property
    def waiting(self) -> int:
        """Requests that ended and are not in the ledger yet, as far as they were read."""
        return sum(len(one.closed) for one in self._workers.values())

    async def keep_delivering(self) -> None:
        """Deliver, turn by turn, while this process is the one that does. Ends by being cancelled."""
        while True:
            if self.claim():
                try:
                    await self.turn()
                except SinkUnavailable as error:
                    _log.warning("the ledger does not take rows", extra={"reason": str(error)})
                    await asyncio.sleep(1)
            await asyncio.sleep(_TURN_S)

    def claim(self) -> bool:
        """Whether this process delivers for the host. The lock goes with the process."""
        if self._lock is None:
            descriptor = os.open(self._folder / "delivery.lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._lock = descriptor
        return True

    def release(self) -> None:
        """Let another process deliver."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def turn(self) -> None:
        """Deliver everything that is in the spools now. Raises SinkUnavailable; nothing is lost then."""
        names = sorted({path.name.rpartition("-")[0] for path in self._folder.glob("*-*.log")})
        for name in names:
            worker = self._workers.setdefault(name, _Worker(name))
            lock = self._lock_of_the_dead(name)  # before the last read: the dead write no more
            try:
                await self._deliver(worker, dead=lock is not None)
            finally:
                if lock is not None:
                    os.close(lock)

    def unsettled(self) -> list[Entry]:
        """The requests that living workers have open, at their bounds."""
        bodies = [body for worker in self._workers.values() for _, body in worker.opened.values()]
        return self._decoded(bodies)

    async def _deliver(self, worker: _Worker, *, dead: bool) -> None:
        await self._insert(worker)  # first what waits: during an outage nothing more is read into memory
        while await asyncio.to_thread(self._read, worker):
            await self._insert(worker)
        if dead:
            worker.closed.update({name: body for name, (_, body) in worker.opened.items()})
            await self._insert(worker)
        self._remove(worker, dead=dead)

    def _read(self, worker: _Worker) -> bool:
        """Read on in the worker's segments, some megabytes; whether there was anything."""
        for path in sorted(self._folder.glob(f"{worker.name}-*.log")):
            segment = worker.segments.setdefault(path.name, _Segment(path))
            with path.open("rb") as file:
                file.seek(segment.at)
                data = file.read(_READ_BYTES)
            records, end = unpack(data)
            segment.at += end
            for record in records:
                if record.closed:
                    worker.closed[record.id] = record.body
                elif record.id not in worker.closed:
                    worker.opened[record.id] = segment, record.body
                    segment.opened.add(record.id)
            if records:
                return True
        return False

    async def _insert(self, worker: _Worker) -> None:
        while worker.closed:
            batch = list(worker.closed.items())[:BATCH]
            await self._sink.insert(self._decoded([body for _, body in batch]))
            self.delivered += len(batch)
            for name, _ in batch:
                del worker.closed[name]
                if name in worker.opened:
                    segment, _ = worker.opened.pop(name)
                    segment.opened.discard(name)

    def _remove(self, worker: _Worker, *, dead: bool) -> None:
        """Remove the segments that are done with: all of a dead worker, else those behind the one it writes."""
        names = sorted(worker.segments)
        for name in names if dead else names[:-1]:
            if not worker.segments[name].opened:
                worker.segments.pop(name).path.unlink()
        if dead and not worker.segments:
            (self._folder / f"{worker.name}.lock").unlink(missing_ok=True)
            del self._workers[worker.name]

    def _lock_of_the_dead(self, name: str) -> int | None:
        """The worker's own lock, if it is dead."""
        try:
            descriptor = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _decoded(self, bodies: list[bytes]) -> list[Entry]:
        found = []
        for body in bodies:
            try:
                found.append(decode(body))
            except ValueError:
                self.damaged += 1
        return found
