"""Rebuilding spending from a real spool and a real database, for memory and for a real Redis that is restarted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from app.metering import Allowances, Budget, Charge, Claim, Scope, ScopeKind, Unit, Window
from app.pipeline.reservation import StoreUnavailable
from app.stores.delivery import Delivery
from app.stores.hosts import Hosts
from app.stores.line import Address, Line
from app.stores.memory import MemoryStore
from app.stores.migrate import upgrade
from app.stores.rebuild import Rebuilder, Spending, restore
from app.stores.redis import SCRIPT, RedisStore
from app.stores.spool import Spool
from app.stores.sql import Ledger, engine
from app.tasks import TaskGroup
from tests.support.entries import ENTRY, encoded
from tests.support.redis import Redis
from tests.support.waiting import until

BUDGET = Budget(Scope(ScopeKind.TENANT, "search-team"), Window.DAY, Unit.TOKENS, 40_000)
SCOPE = Allowances((BUDGET,))


class Host:
    """One host: its spool, its database, and what upstreams could bill it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = engine(f"sqlite+aiosqlite:///{folder}/ledger.db")
        self.ledger = Ledger(self.database)
        self.spool = Spool(folder / "spool", "w1")
        self.delivery = Delivery(folder / "spool", self.ledger)
        self.hosts = Hosts(folder / "spool", self.database)
        self.spending = Spending(self.delivery, self.ledger, lambda: [BUDGET])
        self.billed = 0

    async def open(self, name: str, bound: int) -> None:
        """Write that a request is about to be sent."""
        self.spool.open(name, *self._record(bound, "bound"))

    async def close(self, name: str, spent: int) -> None:
        """Write how it ended."""
        self.billed += spent
        self.spool.close(name, *self._record(spent, "exact"))

    def _record(self, tokens: int, method: str) -> tuple[bytes, bytes]:
        now = time.time()
        return encoded(
            ENTRY._replace(at=now, method=method, input_tokens=tokens, output_tokens=0, cached_input_tokens=0)
        )


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host with an empty ledger."""
    one = Host(tmp_path)
    await upgrade(one.database)
    await one.hosts.register()
    yield one
    await one.database.dispose()


async def test_a_memory_store_begins_with_what_was_spent(host: Host) -> None:
    """What ended counts as it was, what a dead process left open at its bound."""
    await host.open("a", 500)
    await host.close("a", 100)
    await host.open("b", 700)
    host.spool.end()
    store = MemoryStore()
    await restore(store, host.spending)
    [level] = await store.levels(SCOPE)
    assert (level.used, level.reserved) == (800, 0)


async def test_redis_is_rebuilt_again_and_again_under_load(host: Host) -> None:
    """Restarted and flushed while requests run: closed, rebuilt, open; in the end it knows exactly what was billed."""
    random = Random(5)
    with Redis() as redis:
        group = TaskGroup("test")
        line = Line(Address.parse(redis.url), SCRIPT, 0.2, lambda: None)
        store = RedisStore(line, name="w1", workers=1, slice_seconds=0.5)
        rebuilder = Rebuilder(line, store, host.delivery, host.spending, host.hosts, lambda _: SCOPE, wait=0.5)
        for work in (line.keep(), store.work(), rebuilder.keep()):
            group.spawn("limits", work)
        count = 0

        async def caller(index: int) -> None:
            nonlocal count
            for turn in range(10_000):
                name, bound = f"{index}.{turn}", random.choice((50, 400))
                try:
                    verdict = await store.reserve(Claim(name, SCOPE, Charge(bound, 0), sent=True))
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
                    continue
                if verdict.refused is not None:
                    return
                await host.open(name, bound)
                if time.monotonic() >= verdict.send_by:
                    await host.close(name, 0)
                    store.settle(name, Charge(0, 0))
                    continue
                await asyncio.sleep(random.choice((0, 0.01, 0.3)))
                spent = random.randint(0, bound)
                await host.close(name, spent)
                store.settle(name, Charge(spent, 0))
                count += 1

        callers = [group.spawn("caller", caller(index)) for index in range(8)]
        for turn in range(3):
            await until(lambda turn=turn: rebuilder.rebuilt > turn, 20)  # type: ignore[misc]
            await asyncio.sleep(0.3)
            if turn == 0:
                redis.kill()
                redis.start()
            elif turn == 1:
                redis.command("FLUSHALL")
        await asyncio.wait(callers, timeout=30)
        assert all(one.done() for one in callers)
        await asyncio.sleep(0.6)  # the slices are old
        await until(lambda: not store.waiting)
        await host.delivery.turn()
        [level] = await store.levels(SCOPE)
        assert host.billed <= BUDGET.limit
        assert host.billed > BUDGET.limit - 400
        assert level.used >= host.billed
        [known] = await host.ledger.spent([BUDGET], time.time())
        assert known.used == host.billed
        assert count > 100
        await group.aclose()
    host.spool.end()
