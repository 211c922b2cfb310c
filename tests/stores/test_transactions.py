"""Connections for one piece of work."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from app.stores.sql import engine
from app.stores.tables import LEASES
from app.stores.transactions import reading, told_as, writing
from tests.support.databases import sqlite


class Away(Exception):
    """A store's own word."""


async def test_all_or_nothing(tmp_path: Path) -> None:
    """What fails on the way leaves nothing behind, and is told as it was."""
    lease = insert(LEASES).values(name="a", holder="me", until=1.0)
    async with sqlite(tmp_path) as database:
        with suppress(KeyError):
            async with writing(database, Away) as connection:
                await connection.execute(lease)
                raise KeyError
        async with reading(database, Away) as connection:
            assert (await connection.execute(select(LEASES))).all() == []
        async with writing(database, Away) as connection:
            await connection.execute(lease)
        async with reading(database, Away) as connection:
            assert len((await connection.execute(select(LEASES))).all()) == 1


async def test_what_the_database_refuses_is_told_in_the_stores_word(tmp_path: Path) -> None:
    """With its cause, and without the statement, which names what was to be written."""
    async with sqlite(tmp_path) as database:
        for way in (reading, writing):
            with pytest.raises(Away, match="no such table") as told:
                async with way(database, Away) as connection:
                    await connection.execute(text("SELECT * FROM absent"))
            assert "SELECT" not in str(told.value)
    with pytest.raises(Away, match="TimeoutError"), told_as(Away):
        raise TimeoutError
    nobody = engine("postgresql+asyncpg://nobody@127.0.0.1:9/none")
    for way in (reading, writing):
        with pytest.raises(Away):
            async with way(nobody, Away):
                pass
    await nobody.dispose()
