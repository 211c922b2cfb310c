"""The ledger in SQLite or PostgreSQL. No request ever waits for it: the spool stands between.

An entry is taken once, by its id, and added to the day's usage in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, Select, Table, TextClause, cast, delete, event, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.entry import Entry
from app.metering import Budget, ScopeKind, Spent, Unit, Window
from app.stores.delivery import SinkUnavailable
from app.stores.tables import DAILY, GROUPS, LEDGER, SUMS

DAY = 86400

_CONNECT_S = 5
_COMMAND_S = 60
_DELETE = 5000
UNAVAILABLE = (SQLAlchemyError, OSError, TimeoutError)
"""What a database that does not answer raises."""


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
        url, connect_args=limits, hide_parameters=True, pool_pre_ping=True, pool_size=4, max_overflow=0
    )


def _careful(connection: Any, _: object) -> None:
    """Readers beside the writer, and every commit on the disk."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


class Ledger:
    """Implements `delivery.Sink`; answers what was spent. The tables are there (`migrate.upgrade`)."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._ledger = _insertion(LEDGER, database.dialect.name, _ONCE)
        self._daily = _insertion(DAILY, database.dialect.name, _ADDED)

    async def insert(self, entries: Sequence[Entry]) -> None:
        """Insert those that are not there yet. All or nothing; raises SinkUnavailable."""
        try:
            async with self._database.begin() as connection:
                await self._add(connection, await self._new(connection, entries))
        except UNAVAILABLE as error:
            raise unavailable(error) from error

    async def spent(self, budgets: Iterable[Budget], now: float, besides: Collection[str] = ()) -> list[Spent]:
        """What was used of each budget in its current window, but for some requests. Raises SinkUnavailable."""
        try:
            async with self._database.connect() as connection:
                return [await self._spent(connection, budget, now, besides) for budget in budgets]
        except UNAVAILABLE as error:
            raise unavailable(error) from error

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
        try:
            async with self._database.connect() as connection:
                found = (await connection.execute(wanted)).mappings().all()
        except UNAVAILABLE as error:
            raise SinkUnavailable(str(error)) from error
        return [Usage({name: one[name] for name in by}, {name: int(one[name]) for name in SUMS}) for one in found]

    async def forget(self, before: float) -> int:
        """Delete the rows of requests that were reserved before then; their days' usage stays. How many there were."""
        gone = 0
        old = select(LEDGER.c.request_id).where(LEDGER.c.at < before).limit(_DELETE)
        while True:
            async with self._database.begin() as connection:
                done = await connection.execute(delete(LEDGER).where(LEDGER.c.request_id.in_(old)))
            gone += done.rowcount
            if done.rowcount < _DELETE:
                return gone

    async def _new(self, connection: AsyncConnection, entries: Sequence[Entry]) -> list[Entry]:
        """Insert; those that were new."""
        # In the order of their ids, as everybody else does: two hosts that deliver the same rows do not deadlock.
        ordered = {one.request_id: one for one in sorted(entries, key=_by_id)}
        if connection.dialect.name == "sqlite":
            return await self._new_in_sqlite(connection, ordered)
        found = await connection.execute(self._ledger, {"rows": orjson.dumps(list(ordered.values())).decode()})
        return [ordered[name] for name in found.scalars()]

    async def _new_in_sqlite(self, connection: AsyncConnection, ordered: Mapping[str, Entry]) -> list[Entry]:
        """The same, row by row inside the driver: a fifth of what taking JSON apart costs there."""
        # Python's driver begins a transaction with the first statement that writes; from then on nobody else does.
        await connection.exec_driver_sql(_BEGIN)
        there = await connection.exec_driver_sql(_KNOWN, (orjson.dumps(list(ordered)).decode(),))
        known = set(there.scalars())
        fresh = [one for name, one in ordered.items() if name not in known]
        if fresh:
            await connection.exec_driver_sql(_ROW_BY_ROW, [_columns(one) for one in fresh])
        return fresh

    async def _add(self, connection: AsyncConnection, fresh: Sequence[Entry]) -> None:
        """Add to the days' usage."""
        days: dict[tuple[Any, ...], list[int]] = {}
        for one in fresh:
            sums = days.setdefault(_group(one), [0] * len(SUMS))
            for place, amount in enumerate((1, one.method == "bound", *_amounts(one))):
                sums[place] += amount
        ordered = [dict(zip((*GROUPS, *SUMS), (*group, *days[group]), strict=True)) for group in sorted(days)]
        if ordered:
            await connection.execute(self._daily, {"rows": orjson.dumps(ordered).decode()})

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


def unavailable(error: BaseException) -> SinkUnavailable:
    """The same as an error of ours; the first line alone, which names no rows."""
    lines = str(error).splitlines()
    return SinkUnavailable(lines[0] if lines else type(error).__name__)


_COLUMNS = [column.name for column in LEDGER.columns]
_BEGIN = f"DELETE FROM {LEDGER.name} WHERE request_id = ''"  # noqa: S608 -- a table's name, no value
_KNOWN = f"SELECT request_id FROM {LEDGER.name} WHERE request_id IN (SELECT value FROM json_each(?))"  # noqa: S608 -- as above
_ROW_BY_ROW = (
    f"INSERT INTO {LEDGER.name} ({', '.join(chr(34) + name + chr(34) for name in _COLUMNS)}) "  # noqa: S608 -- as above
    f"VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_columns = attrgetter(*_COLUMNS)
_by_id = attrgetter("request_id")
_amounts = attrgetter(*SUMS[2:])
_names = attrgetter(*GROUPS[1:])


def _group(one: Entry) -> tuple[Any, ...]:
    return int(one.at // DAY), *_names(one)


def _insertion(table: Table, dialect: str, conflict: str) -> TextClause:
    """An insertion whose rows are one parameter, a JSON array: thousands of parameters take many times as long."""
    names = [column.name for column in table.columns]
    quoted = ", ".join(f'"{name}"' for name in names)
    if dialect == "sqlite":
        values = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        source = f"{values} FROM json_each(:rows) WHERE true"  # columns' names, no values
    else:
        source = f"{quoted} FROM json_populate_recordset(CAST(NULL AS {table.name}), CAST(:rows AS json))"  # as above
    return text(f"INSERT INTO {table.name} ({quoted}) SELECT {source} {conflict}")  # as above


_ONCE = "ON CONFLICT (request_id) DO NOTHING RETURNING request_id"
_ADDED = f"ON CONFLICT ({', '.join(f'{chr(34)}{name}{chr(34)}' for name in GROUPS)}) DO UPDATE SET " + ", ".join(
    f"{name} = {DAILY.name}.{name} + excluded.{name}" for name in SUMS
)


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
