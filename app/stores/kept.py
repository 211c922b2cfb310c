"""One of a pool's connections to PostgreSQL, kept, and asked past SQLAlchemy, whose way there takes a millisecond.

A pool looks whether a connection is alive each time that it lends it, which is two more questions. Here a connection
that turns out to be dead is noticed when it is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

T = TypeVar("T")


class Kept:
    """A connection of `database`'s, from the first question on."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._held: AsyncConnection | None = None
        self._driver: Any = None  # asyncpg's connection
        self._turn = asyncio.Lock()
        event.listen(database.sync_engine, "engine_disposed", self._disposed)

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """The answer of asyncpg's connection: `question` is called with it, a second time if it was dead.

        Raises what SQLAlchemy and asyncpg raise; the next question begins with a fresh connection then.
        """
        asyncpg = self._database.dialect.loaded_dbapi.asyncpg  # loaded only where it is used
        async with self._turn:
            driver = self._driver
            try:
                if driver is not None:
                    try:
                        return await question(driver)
                    except asyncpg.InternalClientError:
                        pass  # what the server said as it hung up came between: the driver has lost its place
                    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        if not driver.is_closed():
                            raise
                await self._connect()
                return await question(self._driver)
            except BaseException:
                await self._drop()
                raise

    async def _connect(self) -> None:
        await self._drop()
        self._held = await self._database.connect()
        self._driver = (await self._held.get_raw_connection()).driver_connection

    async def _drop(self) -> None:
        held, self._held, self._driver = self._held, None, None
        if held is not None:
            await held.invalidate()  # closed, and not given back to the pool
            await held.close()

    def _disposed(self, _: object) -> None:
        if self._driver is not None:
            self._driver.terminate()
