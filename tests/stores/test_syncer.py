"""The thread that syncs, on real files."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from app.stores.syncer import DiskFile, Syncer


def test_a_file_takes_back_what_the_disk_took_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves no half record."""
    file = DiskFile(tmp_path / "one")
    file.append(b"first")
    write = os.write
    calls: list[int] = []

    def short(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(descriptor, data[:3])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="no space"):
        file.append(b"second")
    monkeypatch.undo()
    file.append(b"third")
    file.close()
    assert (tmp_path / "one").read_bytes() == b"firstthird"


def test_a_segment_is_not_written_over(tmp_path: Path) -> None:
    """A name is used once."""
    DiskFile(tmp_path / "one").close()
    with pytest.raises(FileExistsError):
        DiskFile(tmp_path / "one")


def test_the_next_segment_is_made_in_the_thread_when_it_is_wanted(tmp_path: Path) -> None:
    """Not before, and the writer goes on meanwhile; `end` syncs what is left."""
    made: list[Path] = []
    told: list[int] = []

    def create() -> DiskFile:
        made.append(tmp_path / str(len(made)))
        return DiskFile(made[-1])

    first = create()
    syncer = Syncer(first, 0.0, create, lambda upto, _: told.append(upto))
    assert len(made) == 1
    until = time.monotonic() + 10
    while (following := syncer.rotate()) is None:
        assert time.monotonic() < until
        time.sleep(0.001)
    following.append(b"x")
    syncer.count += 1
    syncer.touch()
    syncer.end()
    assert len(made) == 2
    assert told[-1] == 1
