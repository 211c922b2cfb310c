"""The ledger's durable local log: what a worker is about to spend, and what it spent, on disk before anybody can lose it.

Each worker appends to segments of its own. A record is written to the kernel before `open` or `close` returns, so it
survives the death of the process; it is on the disk within GROUP_S after that (or before they return, with `always`), so
it survives the loss of power. A record: 4 bytes magic, length and CRC-32 of what follows (little-endian, 4 bytes each), 1
byte kind (O or C), 1 byte length of the id, the id, the body. A reader that finds something else looks for the next magic.

Who has died is seen by its lock: a worker keeps `<name>.lock` locked as long as it lives.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

GROUP_S = 0.05
"""Seconds between two writes to the disk at most, while there is something to write."""

SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment that is longer is followed by another one."""

_MAGIC = b"\xf1SGL"
_HEAD = struct.Struct("<4sII")
_LONGEST = 1024 * 1024


class SpoolFailed(Exception):
    """The log cannot be written. Nothing may be sent upstream: it would be missing from the ledger."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record: `closed` tells whether the request had ended, `body` is its ledger entry."""

    id: str
    closed: bool
    body: bytes


def pack(record: Record) -> bytes:
    """A record as it stands in a segment."""
    name = record.id.encode()
    rest = b"%c%c%b%b" % (b"C" if record.closed else b"O", len(name), name, record.body)
    return _HEAD.pack(_MAGIC, len(rest), zlib.crc32(rest)) + rest


def unpack(data: bytes, at: int = 0) -> tuple[list[Record], int]:
    """The whole records from `at` on, and where the next one will begin. Damage is skipped."""
    found: list[Record] = []
    while True:
        record, after = _next(data, at)
        if record is not None:
            found.append(record)
            at = after
            continue
        # A tail that is still being written, or damage: what follows the next magic tells which.
        again = data.find(_MAGIC, at + 1)
        while again >= 0 and _next(data, again)[0] is None:
            again = data.find(_MAGIC, again + 1)
        if again < 0:
            return found, at
        at = again


def _next(data: bytes, at: int) -> tuple[Record | None, int]:
    if len(data) < at + _HEAD.size + 2:
        return None, at
    magic, length, crc = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    rest = data[begin : begin + length]
    if magic != _MAGIC or not 2 <= length <= _LONGEST or len(rest) < length or zlib.crc32(rest) != crc:
        return None, at
    name_end = 2 + rest[1]
    return Record(rest[2:name_end].decode(), rest[0:1] == b"C", rest[name_end:]), begin + length


class File(Protocol):
    """A segment that is written. Tests put a disk in its place that forgets what was not synced."""

    def append(self, data: bytes) -> None:
        """Hand the data to the kernel. Raises OSError."""
        ...

    def sync(self) -> None:
        """Wait until everything that was appended is on the disk. Raises OSError. Called in a thread."""
        ...

    def close(self) -> None:
        """Append no more."""
        ...


class DiskFile:
    """A real segment. Making it puts its name on the disk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append(self, data: bytes) -> None:
        """As File's."""
        done = os.write(self._descriptor, data)
        while done < len(data):
            done += os.write(self._descriptor, data[done:])

    def sync(self) -> None:
        """As File's."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """As File's."""
        os.close(self._descriptor)


class Spool:
    """One worker's log. Run `keep_synced` in a background task.

    `name` names this worker's life: no other, earlier or later one has it. With `always`, `open` and `close` wait for
    the disk; else they never wait. Raises SpoolFailed where the log cannot be written, from then on for every `open`.
    """

    def __init__(
        self, folder: Path, name: str, *, always: bool = False, create: Callable[[Path], File] = DiskFile
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._always = always
        self._create = create
        self._lock = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._count = 0
        self._size = 0
        self._file = self._new_file()
        self._full: list[File] = []  # segments that are left, but not synced yet
        self._written = self._synced = 0
        self._failed: OSError | None = None
        self._dirty = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def open(self, claim_id: str, body: bytes) -> None:
        """Say that a request is about to be sent. Call it, and let it return, before the first byte goes upstream."""
        if self._failed is not None:
            raise SpoolFailed(str(self._failed)) from self._failed
        self._append(Record(claim_id, closed=False, body=body))
        if self._always:
            await self._on_disk()

    async def close(self, claim_id: str, body: bytes) -> None:
        """Say how a request ended. Call it before the last byte goes to the caller."""
        self._append(Record(claim_id, closed=True, body=body))
        if self._always:
            await self._on_disk()

    async def keep_synced(self) -> None:
        """Put on the disk what was written, at most GROUP_S after it was. Ends by being cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if not self._always:
                await asyncio.sleep(GROUP_S / 2)
            await self.sync()

    async def sync(self) -> None:
        """Put on the disk what was written until now, without holding up the event loop."""
        upto, full, current = self._written, self._full, self._file
        self._full = []
        try:
            await asyncio.to_thread(_sync_all, full, current)
        except OSError as error:
            self._fail(error)
            return
        self._synced = max(self._synced, upto)
        done = [future for written, future in self._waiting if written <= upto]
        self._waiting = [(written, future) for written, future in self._waiting if written > upto]
        for future in done:
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Sync and close the log and give the name up: whoever delivers takes it from here."""
        _sync_all(self._full, self._file)
        self._file.close()
        os.close(self._lock)

    def _append(self, record: Record) -> None:
        data = pack(record)
        if self._size + len(data) > SEGMENT_BYTES:
            self._rotate()
        try:
            self._file.append(data)
        except OSError as error:
            # The tail may be torn now. A reader skips it; the next record goes behind it, if there is ever room again.
            raise SpoolFailed(f"the spool cannot be written: {error}") from error
        self._size += len(data)
        self._written += 1
        self._dirty.set()

    def _rotate(self) -> None:
        before = self._file
        try:
            self._file = self._new_file()
        except OSError as error:
            raise SpoolFailed(f"the spool cannot be continued: {error}") from error
        self._full.append(before)
        self._size = 0

    def _new_file(self) -> File:
        file = self._create(self._folder / f"{self._name}-{self._count:06d}.log")
        self._count += 1
        return file

    async def _on_disk(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._written, future))
        self._dirty.set()
        await future

    def _fail(self, error: OSError) -> None:
        """After a failed sync nobody knows what is on the disk: no request may be sent any more."""
        self._failed = error
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(SpoolFailed(str(error)))
        self._waiting.clear()


def _sync_all(full: list[File], current: File) -> None:
    for file in full:
        file.sync()
        file.close()
    current.sync()
