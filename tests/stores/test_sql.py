"""The ledger in real databases: once each, summed by day, rebuilt from, forgotten."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from app.entry import Entry
from app.metering import Budget, Scope, ScopeKind, Spent, Unit, Window, key_scope
from app.stores.delivery import SinkUnavailable
from app.stores.migrate import upgrade
from app.stores.sql import DAY, Ledger, engine
from app.stores.tables import LEDGER, METADATA
from tests.support.entries import ENTRY
from tests.support.postgres import Postgres

NOON = 20_800 * DAY + 43_200.0


def entries(count: int, seed: int = 1) -> list[Entry]:
    """Requests of several tenants, keys and models over some days before NOON."""
    random = Random(seed)
    return [
        ENTRY._replace(
            request_id=f"r{number}",
            at=NOON - random.uniform(0, 40 * DAY),
            tenant=random.choice("ab"),
            key=random.choice("kl"),
            model=random.choice("xyz"),
            method=random.choice(("exact", "bound")),
            charged_tokens=random.randint(0, 1000),
            charged_nano=random.randint(0, 10**12),
        )
        for number in range(count)
    ]


async def total(database: AsyncEngine) -> tuple[int, int]:
    """Rows and money in the ledger."""
    async with database.connect() as connection:
        found = await connection.execute(select(func.count(), func.sum(LEDGER.c.charged_nano)))
    rows, money = found.one()
    return rows, int(money or 0)


async def test_migrations_make_the_tables_that_the_code_uses(database: AsyncEngine) -> None:
    """Nothing more, nothing less; and they may be applied again."""
    await upgrade(database)

    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    async with database.connect() as connection:
        assert await connection.run_sync(compare) == []


async def test_a_request_is_taken_once(database: AsyncEngine) -> None:
    """However often it is delivered, in whatever batches; usage adds up to the ledger, to the nano-dollar."""
    ledger, several = Ledger(database), entries(300)
    await ledger.insert(several[:200])
    await ledger.insert(several[100:] + several[250:])
    await ledger.insert(several)
    money = sum(one.charged_nano for one in several)
    assert await total(database) == (300, money)
    usage = await ledger.usage(0, 10**6)
    assert sum(one.sums["charged_nano"] for one in usage) == money
    assert sum(one.sums["requests"] for one in usage) == 300
    assert sum(one.sums["bound_requests"] for one in usage) == sum(one.method == "bound" for one in several)


async def test_what_is_written_is_read(database: AsyncEngine) -> None:
    """Every column, numbers beyond 32 bits and missing ones included."""
    one = ENTRY._replace(charged_nano=2**62, price_reasoning=None, template="t", count_method="exact", seconds=None)
    await Ledger(database).insert([one])
    async with database.connect() as connection:
        found = (await connection.execute(select(LEDGER))).mappings().one()
    assert Entry(**found) == one


async def test_two_hosts_may_deliver_the_same_rows_at_once(database: AsyncEngine) -> None:
    """Neither waits for ever, and nothing is counted twice."""
    ledger, several = Ledger(database), entries(400)
    random = Random(3)
    orders = [random.sample(several, len(several)) for _ in range(3)]

    async def deliver(order: list[Entry]) -> None:
        for at in range(0, len(order), 50):
            await ledger.insert(order[at : at + 50])

    await asyncio.gather(*map(deliver, orders))
    assert await total(database) == (400, sum(one.charged_nano for one in several))
    assert sum(one.sums["requests"] for one in await ledger.usage(0, 10**6)) == 400


async def test_usage_says_who_spent_what_on_which_model_by_day(database: AsyncEngine) -> None:
    """For one tenant, a range of days, summed by what is asked."""
    ledger, several = Ledger(database), entries(300)
    await ledger.insert(several)
    last = int(NOON // DAY)
    found = await ledger.usage(last - 6, last, by=("day", "model"), where={"tenant": "a"})
    mine = [one for one in several if one.tenant == "a" and one.at // DAY >= last - 6]
    expected: dict[tuple[int, str], int] = {}
    for one in mine:
        group = int(one.at // DAY), one.model
        expected[group] = expected.get(group, 0) + one.charged_tokens
    assert {(one.group["day"], one.group["model"]): one.sums["charged_tokens"] for one in found} == expected
    assert [one.group["day"] for one in found] == sorted(one.group["day"] for one in found)


async def test_a_thousand_budgets_are_asked_for_together(database: AsyncEngine) -> None:
    """One question for each kind of scope and window, however many tenants there are."""
    asked: list[str] = []
    event.listen(database.sync_engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
    await Ledger(database).insert([ENTRY])
    asked.clear()
    tenants = [Scope(ScopeKind.TENANT, name) for name in (ENTRY.tenant, *(f"t{number}" for number in range(1000)))]
    budgets = [Budget(one, window, Unit.TOKENS, 5) for one in tenants for window in (Window.HOUR, Window.TOTAL)]
    spent = await Ledger(database).spent(budgets, ENTRY.at)
    assert [one.budget for one in spent] == budgets
    assert [one.used for one in spent] == [ENTRY.charged_tokens] * 2 + [0] * 2000
    assert len([one for one in asked if "sum(" in one]) == 2


async def test_what_was_spent_of_budgets(database: AsyncEngine) -> None:
    """In every scope, window and unit, with and without the requests that are still open elsewhere."""
    ledger, several = Ledger(database), entries(400)
    several += [one._replace(request_id=f"now{one.request_id}", at=NOON - 20) for one in several[:10]]
    await ledger.insert(several)
    scopes = [
        Scope(ScopeKind.EVERYTHING),
        Scope(ScopeKind.TENANT, "a"),
        key_scope("a", "k"),
        Scope(ScopeKind.MODEL, "x"),
    ]
    budgets = [Budget(scope, window, unit, 1) for scope in scopes for window in Window for unit in Unit]
    besides = {one.request_id for one in several[::7]} | {"unknown"}

    def counts(one: Entry, budget: Budget) -> bool:
        start, end = budget.window.span(NOON + 1)
        names = {"tenant": one.tenant, "key": f"{one.tenant} {one.key}", "model": one.model, "everything": ""}
        return start <= one.at < end and names[budget.scope.kind] == budget.scope.name

    for left_out in (set(), besides):
        found = await ledger.spent(budgets, NOON + 1, left_out)
        for budget, spent in zip(budgets, found, strict=True):
            mine = [one for one in several if counts(one, budget) and one.request_id not in left_out]
            used = sum(one.charged_tokens if budget.unit is Unit.TOKENS else one.charged_nano for one in mine)
            assert spent == Spent(budget, budget.window.span(NOON + 1)[0], used)


async def test_old_rows_are_forgotten_and_their_usage_stays(database: AsyncEngine) -> None:
    """Retention."""
    ledger, several = Ledger(database), entries(300)
    await ledger.insert(several)
    old = [one for one in several if one.at < NOON - 10 * DAY]
    assert await ledger.forget(NOON - 10 * DAY) == len(old)
    assert (await total(database))[0] == 300 - len(old)
    assert sum(one.sums["requests"] for one in await ledger.usage(0, 10**6)) == 300


async def test_a_database_that_is_away_is_told_as_such() -> None:
    """Within a bound, and the rows may come again."""
    with Postgres(durable=True) as mortal:
        database = engine(mortal.url)
        await upgrade(database)
        ledger = Ledger(database)
        await ledger.insert(entries(10))
        mortal.stop()
        began = time.monotonic()
        with pytest.raises(SinkUnavailable):
            await ledger.insert(entries(20))
        with pytest.raises(SinkUnavailable):
            await ledger.spent([], NOON)
        assert time.monotonic() - began < 15
        mortal.start()
        await ledger.insert(entries(20))
        assert (await total(database))[0] == 20
        await database.dispose()
