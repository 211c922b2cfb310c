"""One process's limits: filled before it serves, told while it runs, given back at its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.books import Books
from app.cells import Cells
from app.config.service import Stores
from app.exchange import Arm, Usage
from app.limits import Limits, scope_name
from app.metering import Budget, Charge, Claim, Scope, ScopeKind, Unit, Window, key_scope
from app.pipeline.reservation import StoreUnavailable
from app.stores.redis import RedisStore
from app.table import State
from app.tasks import TaskGroup
from app.telemetry import BUDGET_LIMIT, BUDGET_RESERVED, BUDGET_USED, LIMITS_UP, Telemetry
from tests.pipeline.parts import state
from tests.pipeline.test_ledger import CALL, ONE, ended, request
from tests.support.redis import Redis
from tests.support.waiting import until

BUDGETS = {"budgets": [{"window": "total", "tokens": 1000, "usd": 2}]}


class Life:
    """One life of a process, in a folder that outlives it."""

    def __init__(self, folder: Path, where: State, limits: str = "memory") -> None:
        url = f"sqlite+aiosqlite:///{folder}/database/ledger.db"
        stores = Stores(database=url, spool=str(folder / "spool"), limits=limits)
        self.telemetry = Telemetry(Cells(None, "test"))
        self.tasks = TaskGroup("test")
        self.state = where
        self.books = Books(stores, self.telemetry)
        self.known = asyncio.Event()
        self.known.set()
        self.limits = Limits(stores, 1, self.books, where, self.telemetry, self.known)

    def told(self) -> dict[str, float]:
        """Gauges by name, summed."""
        found: dict[str, float] = {}
        for series, values in self.telemetry.cells.read():
            found[series.metric] = found.get(series.metric, 0) + values[0]
        return found

    async def take(self, tokens: int, name: str = "r") -> bool:
        """Whether so many fit into all budgets."""
        claim = Claim(name, self.state.table.scopes.every, Charge(tokens, tokens), sent=True)
        return (await self.limits.store.reserve(claim)).refused is None


@asynccontextmanager
async def alive(folder: Path, limits: str = "memory", **changes: Any) -> AsyncIterator[Life]:
    """A life, from its start to its orderly end."""
    (folder / "database").mkdir(exist_ok=True)
    life = Life(folder, state({**BUDGETS, **changes}), limits)
    life.books.start(life.tasks)
    await life.limits.start(life.tasks)
    yield life
    await life.limits.aclose()
    await life.tasks.aclose()
    await life.books.aclose()


async def test_what_was_spent_before_is_known_at_start(tmp_path: Path) -> None:
    """From the ledger and the spool: what ended, at what it cost, what did not, at its bound."""
    bound = 0
    async with alive(tmp_path) as life:
        for name, usage in (("a", Usage(300, 100)), ("b", None)):
            progress = request()
            progress.request_id = name
            life.books.ledger.open(CALL, Arm.STABLE, ONE, progress)
            if usage is not None:
                ended(progress, ONE, usage)
                life.books.ledger.close(progress)
            bound = sum(progress.bound)
    async with alive(tmp_path) as again:
        assert again.limits.reason is None
        levels = await again.limits.store.levels(again.state.table.scopes.every)
        assert (levels[0].used, levels[0].reserved) == (400 + bound, 0)
        await until(lambda: again.told().get(BUDGET_USED.name, 0) > 400)


async def test_budgets_are_closed_until_it_is_known(tmp_path: Path) -> None:
    """The database is away: it serves what nothing limits, and opens when it is back."""
    life = Life(tmp_path, state(BUDGETS))
    life.books.start(life.tasks)
    assert life.limits.serves_nobody
    with pytest.raises(StoreUnavailable):
        await life.take(1)
    assert life.limits.reason == "what was spent before is not known yet"
    filling = life.tasks.spawn("start", life.limits.start(life.tasks))
    (tmp_path / "database").mkdir()
    await filling
    assert await life.take(1)
    await life.tasks.aclose()
    await life.books.aclose()


async def test_budgets_are_closed_until_it_is_known_which_there_are(tmp_path: Path) -> None:
    """Those that the database holds come after the process has begun: what was spent of them is asked for then."""
    async with alive(tmp_path) as life:
        progress = request()
        life.books.ledger.open(CALL, Arm.STABLE, ONE, progress)
        ended(progress, ONE, Usage(300, 100))
        life.books.ledger.close(progress)
    again = Life(tmp_path, state())
    again.known.clear()
    again.books.start(again.tasks)
    await again.limits.start(again.tasks)
    assert again.limits.reason is None
    again.state.table = state(BUDGETS).table
    assert again.limits.serves_nobody
    with pytest.raises(StoreUnavailable):
        await again.take(1)
    again.known.set()
    await until(lambda: again.limits.reason is None)
    levels = await again.limits.store.levels(again.state.table.scopes.every)
    assert levels[0].used == 400
    await again.tasks.aclose()
    await again.books.aclose()


async def test_nothing_limited_needs_nothing(tmp_path: Path) -> None:
    """Without budgets it does not wait for a database."""
    life = Life(tmp_path, state())
    begun = time.monotonic()
    await life.limits.start(life.tasks)
    assert time.monotonic() - begun < 1
    assert life.limits.reason is None
    await life.tasks.aclose()
    await life.books.aclose()


async def test_levels_are_told(tmp_path: Path) -> None:
    """As metrics, and as documents with exact money."""
    async with alive(tmp_path) as life:
        assert await life.take(250)
        await until(lambda: life.told().get(BUDGET_RESERVED.name, 0) > 250)
        told = life.told()
        assert (told[BUDGET_LIMIT.name], told[LIMITS_UP.name]) == (1002, 1)
        tokens, money = await life.limits.documents()
    assert tokens | {"window_start": 0} == {
        "scope": "everything", "window": "total", "unit": "tokens", "limit": 1000, "used": 0, "reserved": 250,
        "left": 750, "overage": 0, "window_start": 0, "window_end": None,
    }  # fmt: skip
    assert (money["limit"], money["reserved"], money["left"]) == ("2.000000000", "0.000000250", "1.999999750")


def test_scopes_have_names() -> None:
    """As they stand in metrics and answers."""
    scopes = {
        "everything": Scope(ScopeKind.EVERYTHING),
        "tenant:team": Scope(ScopeKind.TENANT, "team"),
        "key:team/ci": key_scope("team", "ci"),
    }
    for name, scope in scopes.items():
        assert scope_name(Budget(scope, Window.DAY, Unit.TOKENS, 1)) == name


async def test_redis_is_away_and_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not hold the start up; once it is there, and was rebuilt, budgets open; at the end slices go back."""
    monkeypatch.setattr("app.limits.CONNECTED_WITHIN_S", 0.1)
    redis = Redis()
    async with alive(tmp_path, redis.url) as life:
        assert life.limits.reason == "not reachable"
        with redis:
            await until(lambda: life.limits.reason == "closed until its state is rebuilt")
            await until(lambda: life.limits.reason is None, seconds=30)
            assert await life.take(1000)
            assert not await life.take(1, "s")
            life.limits.store.settle("r", Charge(900, 0))
            assert isinstance(life.limits.store, RedisStore)
            await life.limits.store.flush()
            tokens, _ = await life.limits.documents()
            assert (tokens["used"], tokens["reserved"]) == (900, 0)
            await life.limits.aclose()
