"""From the spools of one host into the ledger: one process per host reads what its workers wrote and inserts it.

Everything here may be done twice: the ledger takes a request once, by its id. A segment is removed when all its
requests are in the ledger and its worker has left it; what a dead worker left open goes in at its bound.

Files are looked at, read and decoded in a thread: the event loop only waits for it. It is one thread, so that what a
cancelled turn has begun ends before the next one begins.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Protocol

from app.entry import Entry, decode
from app.stores.spool import CLOSE, LONGEST, SHARED, Record, unpack
from app.tasks import Aside

BATCH = 500
"""Rows in one insertion at most."""

_TURN_S = 0.25
_LONGEST_PAUSE_S = 5.0
_READ_BYTES = 64 * 1024
_Body = tuple[bytes, bytes]
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

    __slots__ = ("at", "opened", "path", "shared")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self.opened: set[str] = set()
        self.shared: dict[int, bytes] = {}

    def read(self) -> list[Record]:
        """The next records of requests, some hundreds: nothing else runs meanwhile where this is compiled."""
        with self.path.open("rb") as file:
            file.seek(self.at)
            data = file.read(_READ_BYTES)
            records, end = unpack(data)
            if not end and len(data) == _READ_BYTES:  # a record that is longer, or as much damage
                records, end = unpack(data + file.read(LONGEST))
        self.at += end
        self.shared.update([(record.number, record.body) for record in records if record.kind == SHARED])
        return [record for record in records if record.kind != SHARED]

    def done(self) -> bool:
        """Whether it was read to its end, and everything in it is in the ledger."""
        return not self.opened and self.at >= self.path.stat().st_size


class _Worker:
    """What one worker wrote: its segments, its open requests, and the closed ones that wait for the ledger."""

    __slots__ = ("closed", "name", "opened", "segments")

    def __init__(self, name: str) -> None:
        self.name = name
        self.segments: dict[str, _Segment] = {}
        self.opened: dict[str, tuple[_Segment, _Body]] = {}
        self.closed: dict[str, _Body] = {}

    def take(self, segment: _Segment, record: Record) -> None:
        """Note a record; the last open one counts where another attempt wrote a second one."""
        name, body = record.name, (record.body, segment.shared.get(record.number, b""))
        if record.kind == CLOSE and record.body:
            self.closed[name] = body
        elif record.kind == CLOSE:
            self.forget(name)
        elif name not in self.closed:
            self.forget(name)
            self.opened[name] = segment, body
            segment.opened.add(name)

    def forget(self, name: str) -> None:
        """The request is open no more."""
        segment, _ = self.opened.pop(name, (None, b""))
        if segment is not None:
            segment.opened.discard(name)

    def delivered(self, names: Sequence[str]) -> None:
        """These requests are in the ledger."""
        for name in names:
            del self.closed[name]
            self.forget(name)

    def behind(self, sizes: Mapping[str, int]) -> bool:
        """Whether there is something to read in its segments, or to insert."""
        known = self.segments
        return bool(self.closed) or any(size > (known[name].at if name in known else 0) for name, size in sizes.items())


class Delivery:
    """Reads the spools in `folder`. Run `keep_delivering` in a background task of every worker: one of them is let in.

    `damaged` counts records that could not be read. `on_turn` is called after each turn, with the reason where the
    database did not take the rows.
    """

    def __init__(self, folder: Path, sink: Sink, on_turn: Callable[[str | None], None] = lambda _: None) -> None:
        self.damaged = 0
        self.delivered = 0
        self.backlog = 0
        """Bytes of the spools that were there at the last turn: not read yet, or waiting to be removed."""
        self._folder = folder
        self._sink = sink
        self._on_turn = on_turn
        self._workers: dict[str, _Worker] = {}
        self._lock: int | None = None
        self._turning = asyncio.Lock()
        self._aside = Aside("delivery")

    @property
    def waiting(self) -> int:
        """Requests that ended and are not in the ledger yet, as far as they were read."""
        return sum(len(one.closed) for one in self._workers.values())

    @property
    def delivers(self) -> bool:
        """Whether this process is the one that delivers for the host."""
        return self._lock is not None

    async def keep_delivering(self) -> None:
        """Deliver, turn by turn, while this process is the one that does. Ends by being cancelled."""
        pause = _TURN_S
        while True:
            if self.claim():
                try:
                    await self.turn()
                    pause = _TURN_S
                    self._on_turn(None)
                except (SinkUnavailable, OSError) as error:
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
                    self._on_turn(str(error) or type(error).__name__)
            await asyncio.sleep(pause)

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
        async with self._turning:
            await self._turn()

    async def _turn(self) -> None:
        for worker in await self._aside.run(self._look):
            lock = self._lock_of_the_dead(worker.name)  # before the last read: the dead write no more
            try:
                await self._deliver(worker, dead=lock is not None)
            finally:
                if lock is not None:
                    os.close(lock)

    def _look(self) -> list[_Worker]:
        """Those for whom there is something to do."""
        sizes: dict[str, dict[str, int]] = {}
        for entry in os.scandir(self._folder):
            name, dash, rest = entry.name.rpartition("-")
            if dash and rest.endswith(".log"):
                sizes.setdefault(name, {})[entry.name] = entry.stat().st_size
        self.backlog = sum(sum(found.values()) for found in sizes.values())
        workers = [(self._workers.setdefault(name, _Worker(name)), found) for name, found in sorted(sizes.items())]
        return [worker for worker, found in workers if worker.behind(found) or self._is_dead(worker.name)]

    def unsettled(self) -> list[Entry]:
        """The requests that living workers have open, at their bounds."""
        return self._decoded({name: body for one in self._workers.values() for name, (_, body) in one.opened.items()})

    async def _deliver(self, worker: _Worker, *, dead: bool) -> None:
        while await self._insert(worker, *await self._aside.run(self._batch, worker)):
            pass
        if dead:
            worker.closed |= {name: body for name, (_, body) in worker.opened.items()}
            while await self._insert(worker, *await self._aside.run(self._batch, worker)):
                pass
        await self._aside.run(self._remove, worker, dead=dead)

    def _batch(self, worker: _Worker) -> tuple[list[str], list[Entry]]:
        """The next closed requests, as many as one insertion takes; during an outage no more are read into memory."""
        while len(worker.closed) < BATCH and self._read(worker):
            pass
        batch = dict(islice(worker.closed.items(), BATCH))
        return list(batch), self._decoded(batch)

    def _read(self, worker: _Worker) -> bool:
        """Read on in the worker's segments; whether there was anything."""
        for path in sorted(self._folder.glob(f"{worker.name}-*.log")):
            segment = worker.segments.setdefault(path.name, _Segment(path))
            before = segment.at
            for record in segment.read():
                worker.take(segment, record)
            if segment.at != before:
                return True
        return False

    async def _insert(self, worker: _Worker, names: list[str], entries: list[Entry]) -> bool:
        """Whether there may be more: an insertion that was not full was the last one, or a turn would never end."""
        if entries:
            await self._sink.insert(entries)
        self.delivered += len(entries)
        worker.delivered(names)
        return len(names) == BATCH

    def _remove(self, worker: _Worker, *, dead: bool) -> None:
        """Remove the segments that are done with: all of a dead worker, else those behind the one it writes."""
        names = sorted(worker.segments)
        if not dead:
            written = [name for name in names if worker.segments[name].path.stat().st_size]
            # Only from the front: what closes a request never goes before what opened it.
            names = list(takewhile(lambda name: worker.segments[name].done(), written[:-1]))
        for name in names:
            worker.segments.pop(name).path.unlink()
        if dead:
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

    def _is_dead(self, name: str) -> bool:
        lock = self._lock_of_the_dead(name)
        if lock is not None:
            os.close(lock)
        return lock is not None

    def _decoded(self, bodies: Mapping[str, _Body]) -> list[Entry]:
        found = []
        for name, (numbers, shared) in bodies.items():
            try:
                found.append(decode(name, numbers, shared))
            except ValueError as error:
                self.damaged += 1
                _log.error("a record of the spool cannot be read", extra={"request_id": name, "reason": str(error)})
        return found
