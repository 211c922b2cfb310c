"""Upgrading a database to what this version knows."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect

from app.stores.migrate import upgrade
from app.stores.sql import engine
from app.stores.tables import METADATA


async def test_a_new_file_gets_its_tables_and_may_be_upgraded_again(tmp_path: Path) -> None:
    """At every start."""
    database = engine(f"sqlite+aiosqlite:///{tmp_path}/100%.db")

    def tables(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    for _ in range(2):
        await upgrade(database)
    async with database.connect() as connection:
        assert await connection.run_sync(tables) == {"alembic_version", *METADATA.tables}
    await database.dispose()
