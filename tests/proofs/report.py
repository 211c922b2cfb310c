"""A month's report over many rows: makes them in a real PostgreSQL, and times what is asked of it.

    python -m tests.proofs.report [--rows N]

Rows are spread over 31 days, 200 tenants with five keys each, four models; the days' sums are made from them. Timed is
the code that answers `sluicegate usage`, and what a rebuild asks for a budget. Needs about 5 GB for ten million rows.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.metering import Budget, Scope, ScopeKind, Unit, Window
from app.stores.migrate import upgrade
from app.stores.sql import DAY, Ledger, engine
from app.stores.tables import DAILY, GROUPS, LEDGER, SUMS
from tests.support.postgres import Postgres

FIRST = 20_000  # the day, since 1970
DAYS = 31
_TEXTS = {"deployment": "'v1'", "arm": "'stable'", "operation": "'chat'", "purpose": "'request'", "outcome": "'ok'"}
_VALUES = {
    **_TEXTS,
    "request_id": "'req_' || lpad(to_hex(i), 32, '0')",
    "at": f"{FIRST * DAY}.0 + (i % {DAYS * DAY}) + 0.5",
    "tenant": "'tenant-' || (i * 7919 % 200)",
    "key": "'key-' || (i * 104729 % 5)",
    "model": "'model-' || (i * 31 % 4)",
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
_BATCH = 200_000


async def fill(database: AsyncEngine, rows: int) -> None:
    """Make the rows, and the days' sums from them."""
    names = [column.name for column in LEDGER.columns]
    values = ", ".join(_VALUES.get(name, "0") for name in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    groups = ", ".join(f'"{name}"' for name in GROUPS[1:])
    sums = ", ".join(f"sum({name})" for name in SUMS[2:])
    into = ", ".join(f'"{name}"' for name in (*GROUPS, *SUMS))
    made = (
        f"INSERT INTO {LEDGER.name} ({quoted}) SELECT {values} "  # noqa: S608 # columns' names and numbers of ours
        "FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i"
    )
    summed = (
        f"INSERT INTO {DAILY.name} ({into}) SELECT CAST(floor(at / {DAY}) AS bigint), {groups}, "  # noqa: S608 # as above
        f"count(*), 0, {sums} FROM {LEDGER.name} GROUP BY CAST(floor(at / {DAY}) AS bigint), {groups}"
    )
    for first in range(0, rows, _BATCH):
        async with database.begin() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))
            await connection.execute(text(made), {"first": first, "last": min(rows, first + _BATCH) - 1})
    async with database.begin() as connection:
        await connection.execute(text(summed))
    async with database.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in (LEDGER, DAILY):
            await connection.execute(text(f"VACUUM ANALYZE {table.name}"))


async def timed(name: str, work: Callable[[], Awaitable[Any]]) -> float:
    """Do it three times; the longest counts."""
    took, lines = [], 0
    for _ in range(3):
        begun = time.monotonic()
        lines = len(await work())
        took.append(time.monotonic() - begun)
    print(f"{name}: {max(took):.3f} s ({lines} lines)", flush=True)
    return max(took)


async def run(rows: int) -> bool:
    """Make and ask; whether each answer takes less than a second."""
    with Postgres() as server:
        filling, database = create_async_engine(server.url), engine(server.url)
        await upgrade(database)
        begun = time.monotonic()
        await fill(filling, rows)
        await filling.dispose()
        print(f"{rows:,} rows in {time.monotonic() - begun:.0f} s", flush=True)
        ledger, last, now = Ledger(database), FIRST + DAYS - 1, float((FIRST + DAYS) * DAY - 1)
        tenant = Scope(ScopeKind.TENANT, "tenant-7")
        by = ("day", "tenant", "key", "model")

        def spent(window: Window) -> Callable[[], Awaitable[Any]]:
            return lambda: ledger.spent([Budget(tenant, window, Unit.TOKENS, 10**9)], now)

        took = [
            await timed("a month by tenant", lambda: ledger.usage(FIRST, last, ("tenant",))),
            await timed("a month by tenant and model", lambda: ledger.usage(FIRST, last, ("tenant", "model"))),
            await timed("a month by day and model", lambda: ledger.usage(FIRST, last, ("day", "model"))),
            await timed("a month of one tenant, whole", lambda: ledger.usage(FIRST, last, by, {"tenant": "tenant-7"})),
            await timed("a month by day, tenant, key, model", lambda: ledger.usage(FIRST, last, by)),
            await timed("spent of a month's budget", spent(Window.MONTH)),
            await timed("spent of an hour's budget", spent(Window.HOUR)),
        ]
        await database.dispose()
    return max(took) < 1


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    return 0 if asyncio.run(run(parser.parse_args().rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
