"""Rows into a SQLite file past SQLAlchemy: batches of every size, all or nothing, any thread."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from app.stores.file import File
from app.stores.migrate import upgrade
from app.stores.sql import engine
from tests.support.entries import ENTRY


async def migrated(folder: Path) -> Path:
    """An empty ledger."""
    path = folder / "ledger.db"
    made = engine(f"sqlite+aiosqlite:///{path}")
    await upgrade(made)
    await made.dispose()
    return path


def found(path: Path) -> tuple[int, int, int]:
    """Rows, their tokens, and the tokens of the days."""
    with sqlite3.connect(path) as connection:
        rows, tokens = connection.execute("SELECT count(*), sum(charged_tokens) FROM ledger").fetchone()
        (days,) = connection.execute("SELECT sum(charged_tokens) FROM usage_daily").fetchone()
    connection.close()
    return rows, tokens, days


@pytest.mark.parametrize("size", [1, 19, 20, 21, 47])
async def test_batches_of_every_size_are_taken_once(tmp_path: Path, size: int) -> None:
    """Whole groups in one statement, the rest row by row; what is there already, or twice in a batch, adds nothing."""
    path = await migrated(tmp_path)
    file = File(str(path), 1.0)
    rows = [ENTRY._replace(request_id=f"r{number:03}") for number in range(size)]
    file.insert(rows)
    file.insert(rows[: size // 2] + [ENTRY._replace(request_id="more")] * 2)
    file.close()
    assert found(path) == (size + 1, (size + 1) * ENTRY.charged_tokens, (size + 1) * ENTRY.charged_tokens)


async def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """And the next batch goes in: the file is opened anew."""
    path = await migrated(tmp_path)
    file = File(str(path), 0.01)
    rows = [ENTRY._replace(request_id=f"r{number}") for number in range(30)]
    bad = ENTRY._replace(request_id="bad", tenant=None)  # type: ignore[arg-type]  # as the database must refuse it
    with pytest.raises(sqlite3.IntegrityError):
        file.insert([*rows, bad])
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            file.insert(rows)
        other.execute("ROLLBACK")
    other.close()
    file.insert(rows)
    file.close()
    assert found(path) == (30, 30 * ENTRY.charged_tokens, 30 * ENTRY.charged_tokens)


async def test_a_file_that_could_not_be_opened_is_opened_anew(tmp_path: Path) -> None:
    """What is half open is not kept: it lacks what makes it durable, and what lets others read."""
    path = tmp_path / "ledger.db"
    file = File(str(path), 0.01)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            file.insert([ENTRY])
        other.execute("ROLLBACK")
    other.close()
    assert file._connection is None
    await migrated(tmp_path)
    file.insert([ENTRY])
    file.close()
    assert found(path)[0] == 1


async def test_several_threads_may_write(tmp_path: Path) -> None:
    """One after the other."""
    path = await migrated(tmp_path)
    file = File(str(path), 1.0)
    batches = [[ENTRY._replace(request_id=f"{batch}.{number}") for number in range(50)] for batch in range(4)]
    await asyncio.gather(*(asyncio.to_thread(file.insert, batch) for batch in batches))
    file.close()
    assert found(path)[0] == 200
