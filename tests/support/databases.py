"""Databases for tests, migrated and empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.migrate import upgrade
from app.stores.sql import engine


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[AsyncEngine]:
    """A file of its own."""
    made = engine(f"sqlite+aiosqlite:///{folder}/ledger.db")
    await upgrade(made)
    try:
        yield made
    finally:
        await made.dispose()


@asynccontextmanager
async def postgresql(url: str) -> AsyncIterator[AsyncEngine]:
    """A server's database, emptied first."""
    made = engine(url)
    async with made.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await upgrade(made)
    try:
        yield made
    finally:
        await made.dispose()
