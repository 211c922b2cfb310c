"""Brings a database to the tables that this version knows."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

LOCK = 0x51DE6A7E
"""The advisory lock of PostgreSQL that migrations and changes of keys hold."""
FOLDER = Path(__file__).with_name("migrations")


async def upgrade(database: AsyncEngine) -> None:
    """Apply the migrations that were not applied yet. Raises SQLAlchemyError."""
    async with database.begin() as connection:
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    # One at a time: the lock ends with the transaction.
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
