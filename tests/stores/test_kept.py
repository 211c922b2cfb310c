"""One connection is kept, and replaced when it is dead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.kept import Kept
from app.stores.sql import engine
from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def postgres() -> Any:
    """A real one."""
    with Postgres() as running:
        yield running


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[AsyncEngine]:
    """A pool of connections to it."""
    made = engine(postgres.url)
    yield made
    await made.dispose()


async def pid(driver: Any) -> int:
    """The server's process at the other end."""
    return int(await driver.fetchval("SELECT pg_backend_pid()"))


async def test_all_questions_go_to_one_connection(database: AsyncEngine) -> None:
    """Which the pool does not lend to others meanwhile; after the engine was disposed of, to another."""
    kept = Kept(database)
    first = await kept.ask(pid)
    assert [await kept.ask(pid) for _ in range(3)] == [first] * 3
    async with database.connect() as connection:
        assert (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one() != first
    await database.dispose()
    assert await kept.ask(pid) != first


async def test_who_asks_does_not_notice_that_it_was_dead(database: AsyncEngine) -> None:
    """Whether that was seen before or is seen only now."""
    kept = Kept(database)
    before = await kept.ask(pid)
    async with database.connect() as connection:
        await connection.execute(text(f"SELECT pg_terminate_backend({before}, 5000)"))
    asked: list[int] = []

    async def late(driver: Any) -> int:
        asked.append(1)
        return await pid(driver)

    assert await kept.ask(late) != before
    assert 1 <= len(asked) <= 2


async def test_an_error_is_told_and_costs_the_connection(database: AsyncEngine) -> None:
    """It is asked once; nothing that the question has left behind is met by the next one."""
    kept = Kept(database)
    before = await kept.ask(pid)
    asked: list[int] = []

    async def wrong(driver: Any) -> int:
        asked.append(1)
        return int(await driver.fetchval("SELECT nonsense"))

    with pytest.raises(database.dialect.loaded_dbapi.asyncpg.PostgresError, match="nonsense"):
        await kept.ask(wrong)
    assert len(asked) == 1
    assert await kept.ask(pid) != before
