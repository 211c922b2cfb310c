"""Puts what was appended to a log on the disk, in groups, in a thread of its own; and has the next segment ready."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from app.tasks import make_way

RECOVER_S = 1.0
"""Seconds between two tries to go on with a fresh segment after the disk failed."""
_log = logging.getLogger("sluicegate")


class File(Protocol):
    """A segment that is written. Tests put a disk in its place that forgets what was not synced."""

    def append(self, data: bytes) -> None:
        """Hand the data to the kernel: all of it, or, with an OSError, nothing that looks like a record."""

    def sync(self) -> None:
        """Wait until everything that was appended is on the disk. Raises OSError. Called in a thread."""

    def close(self) -> None:
        """Append no more. Never raises."""


class DiskFile:
    """A real segment. Making it puts its name on the disk. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._size = 0
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append(self, data: bytes) -> None:
        """As File's."""
        done = os.write(self._descriptor, data)
        if done < len(data):
            self._finish(data, done)
        self._size += len(data)

    def sync(self) -> None:
        """As File's."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """As File's."""
        with suppress(OSError):
            os.close(self._descriptor)

    def _finish(self, data: bytes, done: int) -> None:
        """Write the rest; where the disk does not take it, take back what was written: readers skip it otherwise."""
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise


class Syncer:
    """The thread that syncs. `pause` is how long it gathers what is written before it syncs, in seconds.

    `create` makes the next segment, `synced` is told, in the thread, up to which record everything is on the disk, or
    why not. After a failed sync nobody knows what the kernel kept: `failed` is set until a fresh segment takes over.
    """

    def __init__(
        self,
        file: File,
        pause: float,
        create: Callable[[], File],
        synced: Callable[[int, OSError | None], None],
    ) -> None:
        self.failed: OSError | None = None
        self.count = 0
        """Records written so far; whoever writes one adds it, and calls `touch` unless it is `dirty` already."""
        self.dirty = False
        self._file = file
        self._pause = pause
        self._create = create
        self._synced = synced
        self._left: list[File] = []  # segments that nobody writes any more, not synced yet
        self._next: File | None = None
        self._wanted = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._worker = threading.Thread(target=self._run, name="sluicegate-spool", daemon=True)
        self._worker.start()

    def touch(self) -> None:
        """There is something to sync, and `dirty` was not set yet."""
        self.dirty = True
        self._wake.set()

    def rotate(self) -> File | None:
        """The segment to be written from now on, if the next one is ready; else it is being made."""
        following = self._next
        if following is None:
            if not self._wanted:
                self._wanted = True
                self._wake.set()
            return None
        self._left.append(self._file)
        self._file = following
        self._next = None
        self.failed = None
        return following

    def end(self) -> None:
        """Sync a last time and close the segments."""
        self._stop.set()
        self._wake.set()
        self._worker.join()
        for file in (*self._left, self._file, self._next):
            if file is not None:
                file.close()

    def _run(self) -> None:
        if self._pause:  # else somebody waits for it
            make_way()
        while not self._stop.is_set():
            self._wake.wait(RECOVER_S if self.failed is not None else None)
            self._wake.clear()
            if self._pause:
                self._stop.wait(self._pause)
            self.dirty = False
            if self.failed is None:
                self._sync()
            if self._next is None and (self._wanted or self.failed is not None):
                self._prepare()
        if self.failed is None:
            self._sync()

    def _sync(self) -> None:
        # In this order: what is left between the reads is in both.
        upto, current, left = self.count, self._file, self._left[:]
        try:
            for file in (*left, current):
                file.sync()
        except OSError as error:
            _log.error("the spool cannot be synced: requests are refused", extra={"reason": str(error)})
            self.failed = error
            self._synced(upto, error)
            return
        for file in left:
            if file is not current:
                self._left.remove(file)
                file.close()
        self._synced(upto, None)

    def _prepare(self) -> None:
        """Make the next segment; one that cannot be synced is none."""
        try:
            file = self._create()
            file.sync()
        except OSError as error:
            _log.warning("the spool's next segment cannot be made", extra={"reason": str(error)})
            return
        self._wanted = False
        self._next = file
