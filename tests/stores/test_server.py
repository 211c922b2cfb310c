"""Rows into PostgreSQL on one connection: kept, made anew when it breaks, and never told of in an error's text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.entry import Entry
from app.stores.delivery import SinkUnavailable
from app.stores.migrate import upgrade
from app.stores.sql import Ledger, engine
from app.stores.tables import LEDGER
from tests.support.entries import ENTRY
from tests.support.postgres import Postgres

CONNECTIONS = text(
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'WITH fresh%' ORDER BY pid"
)


@pytest.fixture
async def server() -> AsyncIterator[AsyncEngine]:
    """A database of its own in PostgreSQL."""
    with Postgres() as postgres:
        database = engine(postgres.url)
        await upgrade(database)
        yield database
        await database.dispose()


def entry(name: str) -> Entry:
    """A request."""
    return ENTRY._replace(request_id=name)


async def rows(database: AsyncEngine) -> int:
    """How many there are."""
    async with database.connect() as connection:
        found: int = (await connection.execute(select(func.count()).select_from(LEDGER))).scalar_one()
    return found


async def pids(database: AsyncEngine) -> list[int]:
    """The server's processes that have served insertions."""
    async with database.connect() as connection:
        return list((await connection.execute(CONNECTIONS)).scalars())


async def test_one_connection_serves_all_insertions(server: AsyncEngine) -> None:
    """The same for each; it is closed with the engine."""
    ledger = Ledger(server)
    for number in range(5):
        await ledger.insert([entry(f"r{number}")])
    (pid,) = await pids(server)
    await ledger.insert([entry("r5")])
    assert await pids(server) == [pid]
    assert await rows(server) == 6
    await server.dispose()
    for _ in range(100):
        if not await pids(server):
            break
        await asyncio.sleep(0.02)
    assert await pids(server) == []
    await ledger.insert([entry("r6")])
    assert await rows(server) == 7


async def test_a_connection_that_was_broken_is_replaced(server: AsyncEngine) -> None:
    """By the next insertion."""
    ledger = Ledger(server)
    await ledger.insert([entry("a")])
    (pid,) = await pids(server)
    async with server.connect() as connection:
        await connection.execute(text(f"SELECT pg_terminate_backend({pid})"))
    await ledger.insert([entry("a"), entry("b")])
    assert await rows(server) == 2
    assert await pids(server) != [pid]


async def test_a_row_that_does_not_fit_costs_its_batch_and_no_more(server: AsyncEngine) -> None:
    """Nothing of it is in; the error names no row, and the next batch is taken."""
    ledger = Ledger(server)
    with pytest.raises(SinkUnavailable) as raised:
        await ledger.insert([entry("good"), entry("secret")._replace(charged_tokens=2**63)])
    assert "secret" not in str(raised.value)
    assert await rows(server) == 0
    await ledger.insert([entry("good")])
    assert await rows(server) == 1


async def test_a_cancelled_insertion_leaves_no_connection_behind(server: AsyncEngine) -> None:
    """It may have been taken or not; whoever delivers asks again."""
    ledger = Ledger(server)
    for _ in range(8):  # more than the pool has
        task = asyncio.create_task(ledger.insert([entry(f"x{number}") for number in range(300)]))
        await asyncio.sleep(0.003)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await ledger.insert([entry(f"x{number}") for number in range(300)])
    assert await rows(server) == 300
