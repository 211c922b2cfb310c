"""One small question that is asked of the database again and again: whether there is something to read.

Through SQLAlchemy each answer takes a millisecond of the event loop's thread. Here the driver is asked, over a
connection that is kept for it; SQLite's in a thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from threading import Lock

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.kept import Kept

_PATIENCE_S = 5.0


class Glance:
    """`question` is a SELECT of one number. Ask from one task at a time; what is open is closed with the engine."""

    def __init__(self, database: AsyncEngine, question: str) -> None:
        self._database = database
        self._question = question
        self._file: sqlite3.Connection | None = None
        self._lock = Lock()
        self._server = Kept(database)
        event.listen(database.sync_engine, "engine_disposed", lambda _: self._close())

    async def number(self) -> int:
        """The answer. Raises one of `transactions.UNAVAILABLE`."""
        if self._database.dialect.name == "sqlite":
            return await asyncio.to_thread(self._read_file)
        asyncpg = self._database.dialect.loaded_dbapi.asyncpg  # loaded only where it is used
        try:
            return int(await self._server.ask(lambda driver: driver.fetchval(self._question, timeout=_PATIENCE_S)))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionError(str(error)) from error

    def _read_file(self) -> int:
        with self._lock:
            try:
                if self._file is None:
                    path = str(self._database.url.database)
                    self._file = sqlite3.connect(
                        path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
                    )
                return int(self._file.execute(self._question).fetchone()[0])
            except sqlite3.Error:
                self._let_go()
                raise

    def _close(self) -> None:
        """Once the thread that reads, if any does, is done."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
