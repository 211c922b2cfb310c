"""A month's report over many rows, in a real PostgreSQL and in SQLite: makes them, times what is asked, shows the plan.

    python -m tests.proofs.report [--rows N] [--store postgresql|sqlite]

Rows are spread over 31 days, 200 tenants with five keys each, four models; the days' sums are made from them. They are
loaded in bulk: without indices, which are made afterwards. Timed is the code that answers `sluicegate usage`, and what
a rebuild asks for a budget; the longest of three counts. Ten million rows need about 6 GB and some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, DropIndex

from app.metering import Budget, Scope, ScopeKind, Unit, Window
from app.stores.migrate import upgrade
from app.stores.sql import DAY, Ledger, engine
from app.stores.tables import DAILY, GROUPS, LEDGER, SUMS
from tests.support.postgres import Postgres

FIRST = 20_000  # the day, since 1970
DAYS = 31
_TEXTS = {"deployment": "'v1'", "arm": "'stable'", "operation": "'chat'", "purpose": "'request'", "outcome": "'ok'"}
_SERIES = {
    "postgresql": "generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i",
    "sqlite": "(WITH RECURSIVE s(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM s WHERE i < :last) SELECT i FROM s)",
}
_NAMED = {"postgresql": "'req_' || lpad(to_hex({}), 32, '0')", "sqlite": "printf('req_%032x', {})"}
# Ids are random in life: multiplied, so that they do not come in the order of the index.
_MIXED = "(i * 2654435761 % 4294967296)"
_VALUES = {
    **_TEXTS,
    "at": f"{FIRST * DAY}.0 + (i * 7919 % {DAYS * DAY}) + 0.5",
    "tenant": "'tenant-' || (i % 200)",
    "key": "'key-' || (i / 200 % 5)",
    "model": "'model-' || (i / 1000 % 4)",
    "method": "'exact'",
    "charged_tokens": "500 + i % 300",
    "charged_nano": "25000 + i % 9000",
    "input_tokens": "400 + i % 200",
    "output_tokens": "100 + i % 100",
    "attempts": "1",
    "first_token_seconds": "0.2",
    "seconds": "1.5",
    "template": "NULL",
    "count_method": "'bound'",
}
_BATCH = 1_000_000
_PRIMARY = "ledger_pkey"


def _made(dialect: str) -> str:
    """One insertion of the rows :first to :last."""
    names = [column.name for column in LEDGER.columns]
    values = {**_VALUES, "request_id": _NAMED[dialect].format(_MIXED)}
    quoted = ", ".join(f'"{name}"' for name in names)
    chosen = ", ".join(values.get(name, "0") for name in names)
    return f"INSERT INTO {LEDGER.name} ({quoted}) SELECT {chosen} FROM {_SERIES[dialect]}"  # noqa: S608 # names, numbers


def _summed() -> str:
    """The days' sums, from the rows."""
    groups = ", ".join(f'"{name}"' for name in GROUPS[1:])
    into = ", ".join(f'"{name}"' for name in (*GROUPS, *SUMS))
    sums = ", ".join(f"sum({name})" for name in SUMS[2:])
    day = f"CAST(at - 0.5 AS bigint) / {DAY}"  # whole seconds: `at` ends on a half here
    found = f"SELECT {day}, {groups}, count(*), 0, {sums} FROM {LEDGER.name} GROUP BY {day}, {groups}"  # noqa: S608 # as above
    return f"INSERT INTO {DAILY.name} ({into}) {found}"


async def fill(database: AsyncEngine, rows: int) -> None:
    """Make the rows, their indices, and the days' sums."""
    dialect = database.dialect.name
    postgresql = dialect == "postgresql"
    indices = sorted(LEDGER.indexes, key=lambda one: one.name or "")
    async with database.begin() as connection:
        for index in indices:
            await connection.execute(DropIndex(index))
        if postgresql:
            await connection.execute(text(f"ALTER TABLE {LEDGER.name} DROP CONSTRAINT {_PRIMARY}"))
            await connection.execute(text(f"ALTER TABLE {LEDGER.name} SET UNLOGGED"))  # read as any other
    for first in range(0, rows, _BATCH):
        async with database.begin() as connection:
            await connection.execute(text(_made(dialect)), {"first": first, "last": min(rows, first + _BATCH) - 1})
    async with database.begin() as connection:
        if postgresql:
            await connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
            await connection.execute(
                text(f"ALTER TABLE {LEDGER.name} ADD CONSTRAINT {_PRIMARY} PRIMARY KEY (request_id)")
            )
        for index in indices:
            await connection.execute(CreateIndex(index))
        await connection.execute(text(_summed()))
    async with database.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in (LEDGER, DAILY):
            await connection.execute(text(f"VACUUM ANALYZE {table.name}" if postgresql else f"ANALYZE {table.name}"))


async def timed(name: str, work: Callable[[], Awaitable[Any]]) -> float:
    """Do it three times; the longest counts."""
    took, lines = [], 0
    for _ in range(3):
        begun = time.monotonic()
        lines = len(await work())
        took.append(time.monotonic() - begun)
    print(f"{name}: {max(took):.3f} s ({lines} lines)", flush=True)
    return max(took)


async def asked(database: AsyncEngine) -> list[float]:
    """Every question; how long each took."""
    ledger, last, now = Ledger(database), FIRST + DAYS - 1, float((FIRST + DAYS) * DAY - 1)
    tenant, everything = Scope(ScopeKind.TENANT, "tenant-7"), Scope(ScopeKind.EVERYTHING)
    by = ("day", "tenant", "key", "model")

    def spent(scope: Scope, window: Window) -> Callable[[], Awaitable[Any]]:
        return lambda: ledger.spent([Budget(scope, window, Unit.TOKENS, 10**9)], now)

    return [
        await timed("a month by tenant", lambda: ledger.usage(FIRST, last, ("tenant",))),
        await timed("a month by tenant and model", lambda: ledger.usage(FIRST, last, ("tenant", "model"))),
        await timed("a month by day and model", lambda: ledger.usage(FIRST, last, ("day", "model"))),
        await timed("a month of one tenant, whole", lambda: ledger.usage(FIRST, last, by, {"tenant": "tenant-7"})),
        await timed("a month by day, tenant, key, model", lambda: ledger.usage(FIRST, last, by)),
        await timed("spent of a tenant's month", spent(tenant, Window.MONTH)),
        await timed("spent of a tenant's hour", spent(tenant, Window.HOUR)),
        await timed("spent of everybody's month", spent(everything, Window.MONTH)),
        await timed("spent of everybody's hour", spent(everything, Window.HOUR)),
    ]


async def plan(database: AsyncEngine) -> str:
    """How the database answers the report by tenant and model: its own words."""
    statements: list[tuple[str, Any]] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(database.sync_engine, "before_cursor_execute", keep)
    await Ledger(database).usage(FIRST, FIRST + DAYS - 1, ("tenant", "model"))
    event.remove(database.sync_engine, "before_cursor_execute", keep)
    statement, parameters = statements[-1]
    how = "EXPLAIN (ANALYZE, BUFFERS) " if database.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    async with database.connect() as connection:
        lines = await connection.exec_driver_sql(how + statement, parameters)
        return "\n".join("  " + str(line[-1]) for line in lines)


async def reconciled(database: AsyncEngine) -> bool:
    """Whether the report is the sum of the ledger, to the nano-dollar."""
    async with database.connect() as connection:
        rows, nano = (await connection.execute(text("SELECT count(*), sum(charged_nano) FROM ledger"))).one()
    usage = await Ledger(database).usage(FIRST, FIRST + DAYS - 1, ())
    told = usage[0].sums
    print(f"ledger: {int(rows):,} rows, {int(nano):,} nano-USD; report: {told['requests']:,}, {told['charged_nano']:,}")
    return (told["requests"], told["charged_nano"]) == (int(rows), int(nano))


async def proved(url: str, rows: int) -> bool:
    """Make and ask; whether each answer takes less than a second, and the sums agree."""
    filling, database = create_async_engine(url), engine(url)
    await upgrade(database)
    begun = time.monotonic()
    await fill(filling, rows)
    await filling.dispose()
    print(f"{database.dialect.name}: {rows:,} rows in {time.monotonic() - begun:.0f} s", flush=True)
    took = await asked(database)
    print(await plan(database), flush=True)
    agreed = await reconciled(database)
    await database.dispose()
    return agreed and max(took) < 1


def run(store: str, rows: int) -> bool:
    """One database."""
    if store == "sqlite":
        with tempfile.TemporaryDirectory(prefix="sluicegate-report-") as folder:
            return asyncio.run(proved(f"sqlite+aiosqlite:///{folder}/ledger.db", rows))
    with Postgres() as server:
        return asyncio.run(proved(server.url, rows))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--store", choices=["postgresql", "sqlite"])
    given = parser.parse_args()
    stores = [given.store] if given.store else ["postgresql", "sqlite"]
    return 0 if all(run(store, given.rows) for store in stores) else 1


if __name__ == "__main__":
    sys.exit(main())
