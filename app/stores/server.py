"""The ledger's rows into PostgreSQL, on one connection of its own and past SQLAlchemy.

An insertion takes 0.1 ms of the event loop so, and 0.7 ms through SQLAlchemy: requests wait for that long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.entry import NAMES, Entry
from app.stores.file import added, columns
from app.stores.tables import LEDGER
from app.tasks import Aside

# The rows are one parameter, a JSON array: thousands of parameters take many times as long. One statement, so that it
# is a transaction by itself.
_TAKE = (
    f"WITH fresh AS (INSERT INTO {LEDGER.name} ({columns(NAMES)}) SELECT {columns(NAMES)} "  # noqa: S608 -- names, no values
    f"FROM json_populate_recordset(CAST(NULL AS {LEDGER.name}), CAST(convert_from($1, 'UTF8') AS json)) "
    f"ON CONFLICT (request_id) DO NOTHING RETURNING *) {added('CAST(floor(at / 86400) AS bigint)', 'fresh')}"
)


class Server:
    """The table behind `database`, of which it holds one connection from the first insertion on."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._held: AsyncConnection | None = None
        self._driver: Any = None  # asyncpg's connection
        self._turn = asyncio.Lock()
        event.listen(database.sync_engine, "engine_disposed", self._disposed)

    async def insert(self, entries: Sequence[Entry], aside: Aside) -> None:
        """Insert those that are not there yet, and add them to their days. All or nothing.

        Raises what SQLAlchemy and asyncpg raise; the next insertion begins with a fresh connection.
        """
        rows = await aside.run(_as_json, entries)
        async with self._turn:
            try:
                if self._driver is None or self._driver.is_closed():
                    await self._connect()
                await self._driver.execute(_TAKE, rows)
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


def _as_json(entries: Sequence[Entry]) -> bytes:
    return orjson.dumps([dict(zip(NAMES, one, strict=True)) for one in entries])
