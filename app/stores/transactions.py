"""Connections for one piece of work each; a database that does not answer is told in the store's own word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.stores.glance import UNAVAILABLE


@asynccontextmanager
async def reading(database: AsyncEngine, unavailable: type[Exception]) -> AsyncIterator[AsyncConnection]:
    """A connection to read from. Raises `unavailable`."""
    try:
        async with database.connect() as connection:
            yield connection
    except UNAVAILABLE as error:
        raise unavailable(str(error)) from error


@asynccontextmanager
async def writing(database: AsyncEngine, unavailable: type[Exception]) -> AsyncIterator[AsyncConnection]:
    """A transaction: all that is done in it, or nothing. Raises `unavailable`."""
    try:
        async with database.begin() as connection:
            yield connection
    except UNAVAILABLE as error:
        raise unavailable(str(error)) from error
