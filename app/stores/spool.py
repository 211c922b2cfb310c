"""The ledger's durable local log: what a worker is about to spend, and what it spent, before anybody can lose it.

Each worker appends to segments of its own. A record is written to the kernel before `open` or `close` returns, so it
survives the death of the process; it is on the disk within GROUP_S after that, or before the caller is answered with
`always`, so it survives the loss of power.

A record: 4 bytes magic, length and CRC-32 of what follows (little-endian, 4 bytes each), 1 byte kind, 1 byte length of
the name, 4 bytes number, the name, the body. What many records share (tenant, prices) stands once in a segment, as a
record of its own, and has a number. A reader that finds something else than a record looks for the next magic.

Who has died is seen by its lock: a worker keeps `<name>.lock` locked as long as it lives.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from app.pipeline.ledger import JournalFailed
from app.stores.syncer import DiskFile, File, Syncer

GROUP_S = 0.05
"""Seconds between two writes to the disk at most, while there is something to write."""
SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment that is longer is followed by another one."""
RETRY_S = 0.5
"""Seconds between two tries to write the closes that a full disk did not take."""

_MAGIC = b"\xf1SGL"
LONGEST = 1024 * 1024
"""Bytes of a record at most."""
_log = logging.getLogger("sluicegate")


class Record(NamedTuple):
    """One record. `kind` is OPEN or CLOSE, of the request `name`; or SHARED: what later records call `number`.

    `numbers` without content in a CLOSE: the request was never sent.
    """

    kind: bytes
    number: int
    name: str = ""
    body: bytes = b""


_record = tuple.__new__  # a third of what naming the fields takes
OPEN, CLOSE, SHARED = b"O", b"C", b"S"
_HEAD = struct.Struct("<4sII")
_FIRST = struct.Struct("<cBI")
_FRONT = struct.Struct("<4sIIcBI")


def pack(kind: bytes, number: int, name: str, body: bytes) -> bytes:
    """A record as it stands in a segment."""
    key = name.encode()
    rest = _FIRST.pack(kind, len(key), number) + key + body  # formatting takes 0.3 µs more
    return _HEAD.pack(_MAGIC, len(rest), crc32(rest)) + rest


def unpack(data: bytes, at: int = 0) -> tuple[list[Record], int]:
    """The whole records from `at` on, and where the next one will begin. Damage is skipped."""
    found: list[Record] = []
    while True:
        at = _run(data, at, found)
        # A tail that is still being written, or damage: what follows the next magic tells which.
        again = data.find(_MAGIC, at + 1)
        while again >= 0 and _run(data, again, []) == again:
            again = data.find(_MAGIC, again + 1)
        if again < 0:
            return found, at
        at = again


def _run(data: bytes, at: int, found: list[Record]) -> int:
    """Add the sound records that stand one behind the other from `at` on; where they end."""
    end = len(data)
    while at + _FRONT.size <= end:
        magic, length, crc, kind, size, number = _FRONT.unpack_from(data, at)
        begin, stop = at + _HEAD.size, at + _HEAD.size + length
        if magic != _MAGIC or not _FIRST.size <= length <= LONGEST or stop > end or crc32(data[begin:stop]) != crc:
            break
        key = at + _FRONT.size
        found.append(_record(Record, (kind, number, data[key : key + size].decode(), data[key + size : stop])))
        at = stop
    return at


class Spool:
    """One worker's log; made in a running loop, ended with `end`. Implements `pipeline.ledger.Journal`.

    `name` names this worker's life: no other, earlier or later one has it. With `always`, `open` and `close` return
    what completes once the record is on the disk; else None. Writing is done by the loop's thread, syncing by one of
    its own.
    """

    def __init__(
        self, folder: Path, name: str, *, always: bool = False, create: Callable[[Path], File] = DiskFile
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self._create = create
        self._loop = asyncio.get_running_loop()
        self._lock = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._always = always
        self._count = 0
        self._size = 0
        self._numbers: dict[bytes, int] = {}
        self._owed: deque[tuple[str, bytes, bytes]] = deque()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._file = self._new_file()
        self._syncer = Syncer(self._file, 0.0 if always else GROUP_S / 2, self._new_file, self._synced_in_thread)

    def open(self, name: str, numbers: bytes, shared: bytes) -> Awaitable[None] | None:
        """Say that a request is about to be sent. Raises JournalFailed.

        Call it, and await what it returns, before the first byte goes upstream.
        """
        if self._owed or self._syncer.failed is not None:
            self._recover()
        try:
            self._append(OPEN, name, numbers, shared)
        except OSError as error:
            raise JournalFailed(f"the spool cannot be written: {error}") from error
        return self._on_disk() if self._always else None

    def close(self, name: str, numbers: bytes, shared: bytes) -> Awaitable[None] | None:
        """Say how a request ended, before the last byte goes to the caller. Never fails.

        What the disk does not take is kept and tried again; until it is written, `open` refuses. If the process dies
        before that, the request is settled at its bound.
        """
        if not self._owed:
            try:
                self._append(CLOSE, name, numbers, shared)
            except OSError as error:
                reason = str(error)
                _log.error("the spool cannot be written: requests are refused until it can", extra={"reason": reason})
                self._loop.call_later(RETRY_S, self._pay_again)
            else:
                return self._on_disk() if self._always and self._syncer.failed is None else None
        self._owed.append((name, numbers, shared))
        return None

    def end(self) -> None:
        """Sync and close the log and give the name up: whoever delivers takes it from here."""
        self._pay()
        self._syncer.end()
        os.close(self._lock)

    def _append(self, kind: bytes, name: str, numbers: bytes, shared: bytes) -> None:
        if self._size > SEGMENT_BYTES:
            self._rotate()
        number = self._numbers.get(shared)
        if number is None:
            number = self._share(shared)
        data = pack(kind, number, name, numbers)
        self._file.append(data)
        self._size += len(data)
        self._syncer.count += 1
        if not self._syncer.dirty:
            self._syncer.touch()

    def _share(self, shared: bytes) -> int:
        """Write down what records of this segment call by a number from now on."""
        number = len(self._numbers)
        data = pack(SHARED, number, "", shared)
        self._file.append(data)
        self._size += len(data)
        self._numbers[shared] = number
        return number

    def _rotate(self) -> None:
        following = self._syncer.rotate()
        if following is not None:
            self._file, self._size = following, 0
            self._numbers.clear()

    def _recover(self) -> None:
        """Go on after the disk failed. Raises JournalFailed where that is not possible yet."""
        failed = self._syncer.failed
        if failed is not None:
            self._rotate()
        else:
            self._pay()
        if self._syncer.failed is not None or self._owed:
            raise JournalFailed(f"the spool cannot be written: {failed or 'the disk is full'}")

    def _pay_again(self) -> None:
        self._pay()
        if self._owed:
            self._loop.call_later(RETRY_S, self._pay_again)

    def _pay(self) -> None:
        try:
            while self._owed:
                self._append(CLOSE, *self._owed[0])
                self._owed.popleft()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                _log.warning("the spool cannot be written", extra={"reason": str(error)})

    def _new_file(self) -> File:
        """The next segment; called in the syncing thread but for the first one. Raises OSError."""
        file = self._create(self._folder / f"{self._name}-{self._count:06d}.log")
        self._count += 1
        return file

    def _on_disk(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((self._syncer.count, future))
        return future

    def _synced_in_thread(self, upto: int, error: OSError | None) -> None:
        if self._always and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._synced, upto, error)

    def _synced(self, upto: int, error: OSError | None) -> None:
        while self._waiting and (error is not None or self._waiting[0][0] <= upto):
            future = self._waiting.popleft()[1]
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(JournalFailed(f"the spool cannot be written: {error}"))
