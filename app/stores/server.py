"""The ledger's rows into PostgreSQL, on one connection of its own and past SQLAlchemy.

An insertion takes 0.1 ms of the event loop so, and 0.7 ms through SQLAlchemy: requests wait for that long.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from app.entry import NAMES, Entry
from app.stores.file import added, columns
from app.stores.kept import Kept
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
        self._connection = Kept(database)

    async def insert(self, entries: Sequence[Entry], aside: Aside) -> None:
        """Insert those that are not there yet, and add them to their days. All or nothing.

        Raises what SQLAlchemy and asyncpg raise.
        """
        rows = await aside.run(_as_json, entries)
        await self._connection.ask(lambda driver: driver.execute(_TAKE, rows))


def _as_json(entries: Sequence[Entry]) -> bytes:
    return orjson.dumps([dict(zip(NAMES, one, strict=True)) for one in entries])
