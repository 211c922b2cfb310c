"""Connections for one piece of work each; a database that does not answer is told in the store's own word."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

UNAVAILABLE = (
    SQLAlchemyError, PostgresError, InterfaceError, InternalClientError, sqlite3.Error, OSError, TimeoutError,
)  # fmt: skip
"""What a database that does not answer raises."""


@contextmanager
def told_as(unavailable: type[Exception]) -> Iterator[None]:
    """Tell what is in UNAVAILABLE as `unavailable`: the first line alone, which names neither statements nor rows."""
    try:
        yield
    except UNAVAILABLE as error:
        lines = str(error).splitlines()
        raise unavailable(lines[0] if lines else type(error).__name__) from error


@asynccontextmanager
async def reading(database: AsyncEngine, unavailable: type[Exception]) -> AsyncIterator[AsyncConnection]:
    """A connection to read from. Raises `unavailable`."""
    with told_as(unavailable):
        async with database.connect() as connection:
            yield connection


@asynccontextmanager
async def writing(database: AsyncEngine, unavailable: type[Exception]) -> AsyncIterator[AsyncConnection]:
    """A transaction: all that is done in it, or nothing. Raises `unavailable`."""
    with told_as(unavailable):
        async with database.begin() as connection:
            yield connection
