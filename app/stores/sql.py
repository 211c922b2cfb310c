"""The ledger in SQLite or PostgreSQL. No request ever waits for it: the spool stands between.

An entry is taken once, by its id, and added to the day's usage in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, delete, event, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.entry import Entry
from app.metering import Budget, ScopeKind, Spent, Unit, Window
from app.stores.delivery import SinkUnavailable
from app.stores.file import PRAGMAS, File
from app.stores.server import Server
from app.stores.tables import DAILY, GROUPS, LEDGER, SUMS
from app.stores.transactions import reading, told_as, writing
from app.tasks import Aside

DAY = 86400

_CONNECT_S = 5
_COMMAND_S = 60
_DELETE = 5000


@dataclass(frozen=True, slots=True)
class Usage:
    """One line of the usage report: who (`group`, by GROUPS) and how much (`sums`, by SUMS)."""

    group: Mapping[str, Any]
    sums: Mapping[str, int]


def engine(url: str) -> AsyncEngine:
    """A pool of connections to `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://USER@HOST/NAME`."""
    if url.startswith("sqlite"):
        made = create_async_engine(url, connect_args={"timeout": _CONNECT_S}, hide_parameters=True)
        event.listen(made.sync_engine, "connect", _careful)
        return made
    # Every commit on the disk, whatever the server's own default: the spool forgets what the ledger has.
    limits = {
        "timeout": _CONNECT_S,
        "command_timeout": _COMMAND_S,
        "server_settings": {"synchronous_commit": "on"},
    }
    return create_async_engine(
        url, connect_args=limits, hide_parameters=True, pool_pre_ping=True, pool_size=5, max_overflow=0
    )


def _careful(connection: Any, _: object) -> None:
    """Readers beside the writer, and every commit on the disk."""
    for pragma in PRAGMAS:
        connection.execute(pragma)


class Ledger:
    """Implements `delivery.Sink`; answers what was spent. The tables are there (`migrate.upgrade`)."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._aside = Aside("ledger")
        self._file: File | None = None
        self._server: Server | None = None
        if database.dialect.name == "sqlite":
            self._file = file = File(str(database.url.database), _CONNECT_S)
            event.listen(database.sync_engine, "engine_disposed", lambda _: file.close())
        else:
            self._server = Server(database)

    async def insert(self, entries: Sequence[Entry]) -> None:
        """Insert those that are not there yet. All or nothing; raises SinkUnavailable."""
        # In the order of their ids, as everybody else does: two hosts that deliver the same rows do not deadlock.
        rows = sorted(entries, key=_id)
        with told_as(SinkUnavailable):
            if self._file is not None:
                await self._aside.run(self._file.insert, rows)
            if self._server is not None:
                await self._server.insert(rows, self._aside)

    async def spent(self, budgets: Iterable[Budget], now: float, besides: Collection[str] = ()) -> list[Spent]:
        """What was used of each budget in its current window, but for some requests. Raises SinkUnavailable."""
        async with reading(self._database, SinkUnavailable) as connection:
            return [await self._spent(connection, budget, now, besides) for budget in budgets]

    async def usage(
        self, first: int, last: int, by: Sequence[str] = GROUPS, where: Mapping[str, str] | None = None
    ) -> list[Usage]:
        """Usage of the days `first` to `last` (since 1970), summed by some of GROUPS, of those `where` names match.

        Raises SinkUnavailable.
        """
        columns = [DAILY.c[name] for name in by]
        sums = [cast(func.sum(DAILY.c[name]), BigInteger).label(name) for name in SUMS]
        wanted = select(*columns, *sums).where(DAILY.c.day.between(first, last)).group_by(*columns).order_by(*columns)
        for name, value in (where or {}).items():
            wanted = wanted.where(DAILY.c[name] == value)
        async with reading(self._database, SinkUnavailable) as connection:
            found = (await connection.execute(wanted)).mappings().all()
        return [Usage({name: one[name] for name in by}, {name: int(one[name]) for name in SUMS}) for one in found]

    async def forget(self, before: float) -> int:
        """Delete the rows of requests that were reserved before then; their days' usage stays. How many there were.

        Raises SinkUnavailable.
        """
        gone = 0
        old = select(LEDGER.c.request_id).where(LEDGER.c.at < before).limit(_DELETE)
        while True:
            async with writing(self._database, SinkUnavailable) as connection:
                done = await connection.execute(delete(LEDGER).where(LEDGER.c.request_id.in_(old)))
            gone += done.rowcount
            if done.rowcount < _DELETE:
                return gone

    async def _spent(self, connection: AsyncConnection, budget: Budget, now: float, besides: Collection[str]) -> Spent:
        start, end = budget.window.span(now)
        name = "charged_tokens" if budget.unit is Unit.TOKENS else "charged_nano"
        raw = select(func.coalesce(func.sum(LEDGER.c[name]), 0)).where(LEDGER.c.at >= start, LEDGER.c.at < end)
        raw = _of_scope(raw, LEDGER.c, budget)
        if budget.window in {Window.MINUTE, Window.HOUR}:
            total = raw
        else:
            total = select(func.coalesce(func.sum(DAILY.c[name]), 0)).where(
                DAILY.c.day >= start // DAY, DAILY.c.day < -(-end // DAY)
            )
            total = _of_scope(total, DAILY.c, budget)
        used = int((await connection.execute(total)).scalar_one())
        names = list(besides)
        for at in range(0, len(names), _DELETE):
            part = raw.where(LEDGER.c.request_id.in_(names[at : at + _DELETE]))
            used -= int((await connection.execute(part)).scalar_one())
        return Spent(budget, start, used)


_id = itemgetter(0)


def _of_scope(wanted: Select[Any], columns: Any, budget: Budget) -> Select[Any]:
    scope = budget.scope
    if scope.kind is ScopeKind.SHADOW:
        return wanted.where(columns.arm == "shadow", columns.model == scope.name)
    wanted = wanted.where(columns.arm != "shadow")
    if scope.kind is ScopeKind.EVERYTHING:
        return wanted
    if scope.kind is ScopeKind.KEY:
        both: ColumnElement[str] = columns.tenant + " " + columns.key
        return wanted.where(both == scope.name)
    return wanted.where(columns[scope.kind.value] == scope.name)
