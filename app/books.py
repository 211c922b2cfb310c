"""The ledger's machinery of one process: the spool it writes, the delivery of the host's spools, the database."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from secrets import token_hex

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Secret
from app.config.service import Stores
from app.pipeline.ledger import Ledger
from app.stores import sql
from app.stores.delivery import Delivery, SinkUnavailable
from app.stores.hosts import Hosts
from app.stores.migrate import upgrade
from app.stores.spool import Spool
from app.tasks import TaskGroup
from app.telemetry import DATABASE_UP, LEDGER_ROWS, SPOOL_BYTES, SPOOL_RECORDS, Telemetry

LAST_DELIVERY_S = 5.0
"""Seconds that a process which ends gives its last delivery; what is left waits in the spool for the next one."""
_LONGEST_PAUSE_S = 5.0
_DAY_S = 86_400.0
_log = logging.getLogger("sluicegate")


class Books:
    """Made in a running loop. `ledger` is for the path of requests, `database` for whoever reads.

    With `stores.ledger` off nothing is spooled any more; what an earlier process has left in the spool is delivered.
    """

    def __init__(self, stores: Stores, telemetry: Telemetry) -> None:
        folder = Path(stores.spool)
        folder.mkdir(parents=True, exist_ok=True)
        self._spool: Spool | None = None
        if stores.ledger:
            self._spool = Spool(folder, f"{os.getpid()}.{token_hex(4)}", always=stores.spool_fsync == "always")
        self.ledger = Ledger(self._spool)
        self.database = open_database(stores)
        self.reason: str | None = "not connected yet"
        """Why the database does not take rows; None while it does."""
        self.rows = sql.Ledger(self.database)
        self.hosts = Hosts(folder, self.database)
        self.told = self.rows if stores.ledger else None
        """For those who ask what was used; None where nothing is written down."""
        self._days = stores.ledger_days
        self.delivery = Delivery(folder, self.rows, self._turned)
        self._telemetry = telemetry
        self._delivered = 0

    def start(self, tasks: TaskGroup) -> None:
        """Deliver from now on; ends with the tasks."""
        tasks.spawn("ledger", self._keep())
        tasks.spawn("ledger-retention", self._forget())

    async def aclose(self) -> None:
        """End the spool; deliver what is left if the database takes it in time. After the tasks have ended."""
        if self._spool is not None:
            self._spool.end()
        try:
            async with asyncio.timeout(LAST_DELIVERY_S):
                if self.delivery.claim():
                    await self.delivery.turn()
                    await self.hosts.leave()
        except (SinkUnavailable, OSError) as error:
            _log.warning("the spool keeps what the database did not take", extra={"reason": str(error)})
        self.delivery.release()
        await self.database.dispose()

    async def _keep(self) -> None:
        pause = 0.25
        while True:
            try:
                await upgrade(self.database)
                break
            except (SQLAlchemyError, OSError) as error:
                self._turned(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
        self._turned(None)
        await self.delivery.keep_delivering()

    async def _forget(self) -> None:
        """Delete what is older than `stores.ledger_days`, once an hour, where this process delivers."""
        while self._days is not None:
            await asyncio.sleep(3600)
            if self.delivery.delivers:
                try:
                    await self.rows.forget(time.time() - self._days * _DAY_S)
                except (SinkUnavailable, OSError) as error:
                    _log.warning("old rows of the ledger stay for now", extra={"reason": str(error)})

    def _turned(self, reason: str | None) -> None:
        if (reason is None) != (self.reason is None):
            level = logging.INFO if reason is None else logging.ERROR
            _log.log(level, "the ledger's database", extra={"state": reason or "ok"})
        self.reason = reason
        telemetry, delivery = self._telemetry, self.delivery
        telemetry.gauge(DATABASE_UP).set(reason is None)
        telemetry.gauge(SPOOL_BYTES).set(delivery.backlog if delivery.delivers else 0)
        telemetry.gauge(SPOOL_RECORDS).set(delivery.waiting)
        telemetry.counter(LEDGER_ROWS).inc(delivery.delivered - self._delivered)
        self._delivered = delivery.delivered


def open_database(stores: Stores) -> AsyncEngine:
    """The database that the configuration names; connects when it is used first."""
    return sql.engine(stores.database.reveal() if isinstance(stores.database, Secret) else stores.database)
