"""A number of the database, asked past SQLAlchemy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.glance import Glance
from app.stores.sql import engine
from app.stores.transactions import UNAVAILABLE


async def test_it_sees_what_others_have_written(database: AsyncEngine) -> None:
    """Each time anew; and says so while there is nothing to read."""
    glance = Glance(database, "SELECT coalesce(sum(number), 0) FROM glanced")
    with pytest.raises(UNAVAILABLE):
        await glance.number()
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE glanced (number integer)"))
    assert await glance.number() == 0
    for _ in range(2):
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO glanced VALUES (4)"))
    assert await glance.number() == 8


async def test_an_answer_under_way_is_waited_for(tmp_path: Path) -> None:
    """Where the engine is disposed of meanwhile: what is read is not closed under the thread that reads it."""
    made = engine(f"sqlite+aiosqlite:///{tmp_path}/some.db")
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT count(*) FROM c"
    answers = asyncio.create_task(Glance(made, many).number())
    await asyncio.sleep(0.05)
    await made.dispose()
    assert await answers == 1_000_000


async def test_a_database_that_is_away_is_told_as_such() -> None:
    """Whatever the driver says."""
    made = engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(UNAVAILABLE):
        await Glance(made, "SELECT 1").number()
    await made.dispose()
