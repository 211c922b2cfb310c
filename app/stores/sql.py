"""The ledger in SQLite or PostgreSQL. No request ever waits for it: the spool stands between.

An entry is taken once, by its id, and added to the day's usage in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Select, cast, delete, event, func, select
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
        several = list(budgets)
        sums: dict[_Kind, dict[str, int]] = {}
        async with reading(self._database, SinkUnavailable) as connection:
            for kind in dict.fromkeys(map(_kind, several)):
                sums[kind] = await _sums(connection, kind, now, list(besides))
        return [Spent(one, one.window.span(now)[0], sums[_kind(one)].get(one.scope.name, 0)) for one in several]

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


_id = itemgetter(0)


_Kind = tuple[Window, Unit, ScopeKind]


def _kind(budget: Budget) -> _Kind:
    return budget.window, budget.unit, budget.scope.kind


async def _sums(connection: AsyncConnection, kind: _Kind, now: float, besides: Sequence[str]) -> dict[str, int]:
    """What all scopes of one kind have used in the current window, by name: one question, however many there are."""
    window, unit, scope = kind
    start, end = window.span(now)
    name = "charged_tokens" if unit is Unit.TOKENS else "charged_nano"
    raw = _grouped(LEDGER.c, scope, name).where(LEDGER.c.at >= start, LEDGER.c.at < end)
    if window in {Window.MINUTE, Window.HOUR}:
        total = raw
    else:
        total = _grouped(DAILY.c, scope, name).where(DAILY.c.day >= start // DAY, DAILY.c.day < -(-end // DAY))
    found = await _named(connection, total)
    for at in range(0, len(besides), _DELETE):
        part = await _named(connection, raw.where(LEDGER.c.request_id.in_(besides[at : at + _DELETE])))
        for one, used in part.items():
            found[one] = found.get(one, 0) - used
    return found


def _grouped(columns: Any, kind: ScopeKind, name: str) -> Select[Any]:
    """The sum of a column, with what names each scope of a kind before it."""
    own = [columns[one] for one in _NAMED_BY[kind]]
    shadow = columns.arm == "shadow" if kind is ScopeKind.SHADOW else columns.arm != "shadow"
    return select(*own, func.coalesce(func.sum(columns[name]), 0)).where(shadow).group_by(*own)


async def _named(connection: AsyncConnection, wanted: Select[Any]) -> dict[str, int]:
    return {" ".join(names): int(used) for *names, used in await connection.execute(wanted)}


_NAMED_BY = {
    ScopeKind.EVERYTHING: (),
    ScopeKind.MODEL: ("model",),
    ScopeKind.TENANT: ("tenant",),
    ScopeKind.KEY: ("tenant", "key"),
    ScopeKind.SHADOW: ("model",),
}
"""The columns that make the name of a scope (`metering.key_scope`)."""
