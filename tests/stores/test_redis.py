"""The Redis store against a real server: round trips, slow and lost servers, rebuilding, many workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from app.metering import (
    LARGEST,
    MOST,
    NOTHING,
    Allowances,
    Budget,
    Charge,
    Claim,
    Limit,
    Measure,
    OnFailure,
    Scope,
    ScopeKind,
    Spent,
    Unit,
    Verdict,
    Window,
)
from app.pipeline.reservation import StoreUnavailable
from app.stores.assembly import Unsettled
from app.stores.line import Address, Line
from app.stores.redis import SCRIPT, RedisStore
from app.tasks import TaskGroup
from tests.support.epochs import open_epoch
from tests.support.redis import Redis
from tests.support.waiting import until

TENANT = Scope(ScopeKind.TENANT, "t")


class Worker:
    """One worker: its line, its store, and how often it asked Redis."""

    def __init__(
        self, redis: Redis, name: str, *, workers: int = 4, timeout: float = 0.05, lease: float = 900.0
    ) -> None:
        self.line = Line(Address.parse(f"unix://{redis.socket}"), SCRIPT, timeout, lambda: None)
        self.store = RedisStore(self.line, name=name, workers=workers, lease=lease, slice_seconds=2.0)
        self.trips = 0
        run = self.line.run

        async def counted(count: int, encoded: bytes) -> list[int]:
            self.trips += 1
            return await run(count, encoded)

        self.line.run = counted  # type: ignore[method-assign]

    async def until(self, *, up: bool) -> None:
        """Wait until the line is up, or down."""
        await until(lambda: self.line.up is up)

    async def settled(self) -> None:
        """Wait until Redis has heard of every settlement."""
        await until(lambda: not self.store.waiting)


@asynccontextmanager
async def running(*workers: Worker, background: bool = True) -> AsyncIterator[None]:
    """Workers with their background tasks; the first opens an empty epoch if there is none."""
    group = TaskGroup("test")
    for one in workers:
        group.spawn("line", one.line.keep())
        if background:
            group.spawn("limits", one.store.work())
    await until(lambda: workers[0].line.connected)
    if not workers[0].line.epoch:
        assert await open_epoch(workers[0].line, workers[0].store)
    for one in workers:
        await one.until(up=True)
        one.trips = 0
    yield
    await group.aclose()


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A fresh server."""
    with Redis() as server:
        yield server


def day(limit: int, scope: Scope = TENANT) -> Budget:
    """A budget in tokens a day."""
    return Budget(scope, Window.DAY, Unit.TOKENS, limit)


async def take(one: Worker, name: str, several: Allowances, amount: int) -> Verdict:
    """Reserve so many tokens."""
    return await one.store.reserve(Claim(name, several, Charge(amount, amount), sent=True))


async def used(one: Worker, several: Allowances) -> list[tuple[int, int]]:
    """Used and reserved of each budget."""
    return [(level.used, level.reserved) for level in await one.store.levels(several)]


async def test_one_round_trip_to_reserve_and_one_to_settle(redis: Redis) -> None:
    """All six budgets and a rate in one script call; settlements that come together go together."""
    scopes = [Scope(kind, "x") for kind in (ScopeKind.KEY, ScopeKind.TENANT, ScopeKind.MODEL)]
    several = Allowances(
        tuple(Budget(scope, Window.DAY, unit, 10_000) for scope in scopes for unit in Unit),
        (Limit(TENANT, Measure.TOKENS, 10_000),),
    )
    one = Worker(redis, "w")
    async with running(one, background=False):
        for index in range(3):
            [left] = (await take(one, f"r{index}", several, 900)).left
            assert left == pytest.approx(10_000 - 900 * (index + 1), abs=150)  # it gains 167 a second
        assert one.trips == 3
        for index in range(3):
            one.store.settle(f"r{index}", Charge(100, 200))
        await one.store.flush()
        assert one.trips == 4
        assert await used(one, several) == [(300, 0), (600, 0)] * 3


async def test_slices_take_the_round_trips_away(redis: Redis) -> None:
    """A thousand small requests on large budgets need a handful, and every token is counted in the end."""
    several = Allowances((day(10_000_000), Budget(Scope(ScopeKind.EVERYTHING), Window.MONTH, Unit.MONEY, 10**10)))
    one = Worker(redis, "w")
    async with running(one):
        for index in range(1000):
            assert (await take(one, f"r{index}", several, 20)).refused is None
            one.store.settle(f"r{index}", Charge(7, 11))
            if index < 5:
                await asyncio.sleep(0.02)
        assert one.trips < 20
        await asyncio.sleep(2.1)  # the slices are old
        await until(lambda: one.store.waiting == 0)
        async with asyncio.timeout(10):
            while await used(one, several) != [(7000, 0), (11_000, 0)]:  # noqa: ASYNC110 # Redis tells nobody
                await asyncio.sleep(0.2)


async def test_workers_share_a_budget_to_the_last_token(redis: Redis) -> None:
    """Four workers, sixty-four callers: never above the limit, refused only when the rest is smaller than a bound."""
    several = Allowances((day(20_000),))
    workers = [Worker(redis, f"w{index}", timeout=2.0) for index in range(4)]
    random = Random(1)
    spent = 0

    async def caller(index: int) -> None:
        nonlocal spent
        one = workers[index % 4]
        for turn in range(1000):
            verdict = await take(one, f"{index}.{turn}", several, 200)
            if verdict.refused is not None:
                return
            await asyncio.sleep(0)
            actual = random.randint(0, 200)
            spent += actual
            one.store.settle(f"{index}.{turn}", Charge(actual, 0))

    async with running(*workers):
        await asyncio.gather(*(caller(index) for index in range(64)))
        for one in workers:
            await one.settled()
        [(found, held)] = await used(workers[0], several)
        assert (found, held) == (spent, 0)
        assert spent <= 20_000
        # What concurrent callers held goes back; whoever comes now may use it to the last bound.
        turn = 0
        while (await take(workers[0], f"last{turn}", several, 200)).refused is None:
            workers[0].store.settle(f"last{turn}", Charge(200, 0))
            await workers[0].settled()
            spent += 200
            turn += 1
        assert 20_000 - 200 < spent <= 20_000


async def test_what_a_worker_itself_holds_refuses_nobody(redis: Redis) -> None:
    """A settlement that is still under way, a slice that lies idle: both make room before a claim is refused."""
    several = Allowances((day(10_000),))
    one = Worker(redis, "w", workers=1)
    async with running(one, background=False):
        for turn in range(10):
            assert (await take(one, f"r{turn}", several, 1000)).refused is None
            one.store.settle(f"r{turn}", Charge(800, 0))
        await one.store.flush()
        await take(one, "small", several, 1)
        one.store.settle("small", Charge(0, 0))
        await one.store.flush()
        await one.store.refill()
        assert await used(one, several) == [(8000, 200)]
        assert (await take(one, "last", several, 2000)).refused is None


async def test_a_window_is_cut_by_the_servers_clock(redis: Redis) -> None:
    """A worker whose clock is a day off is told so, and charges the right day."""
    several = Allowances((day(1000),))
    one, ahead = Worker(redis, "one"), Worker(redis, "ahead")
    ahead.store._wall = lambda: time.time() + 86_400
    async with running(one, ahead, background=False):
        await take(ahead, "r", several, 300)
        assert ahead.trips == 2
        await take(ahead, "s", several, 300)
        assert ahead.trips == 3
        assert await used(one, several) == [(0, 600)]


async def test_places_and_rates(redis: Redis) -> None:
    """A place is free again afterwards, a request stays counted, tokens go back to their bucket."""
    limits = (
        Limit(TENANT, Measure.CONCURRENT, 2),
        Limit(TENANT, Measure.REQUESTS, 3),
        Limit(TENANT, Measure.TOKENS, 100),
    )
    several = Allowances((), limits)
    one = Worker(redis, "w")
    async with running(one, background=False):
        assert (await take(one, "a", several, 30)).left == (1, 2, 70)
        one.store.settle("a", Charge(10, 0))
        await one.store.flush()
        assert (await take(one, "b", several, 90)).left == (1, 1, 0)
        assert (await take(one, "c", several, 0)).left == (0, 0, 0)
        full = await take(one, "d", several, 0)
        assert full.refused == 1
        assert full.retry_after == pytest.approx(20, abs=1)


async def test_leases_end_by_what_was_sent(redis: Redis) -> None:
    """At the bound, or refunded; a settlement that comes later corrects either."""
    several = Allowances((day(1000),), (Limit(TENANT, Measure.CONCURRENT, 9),))
    one = Worker(redis, "w", lease=0.2)
    one.store._short_lease = 0.2
    async with running(one, background=False):
        for name, sent in (("sent", True), ("unsent", False), ("late", True)):
            await one.store.reserve(Claim(name, several, Charge(100, 0), sent=sent))
        assert await one.store.reap() == 0
        await asyncio.sleep(0.25)
        assert await one.store.reap() == 3
        assert await used(one, several) == [(200, 0)]
        one.store.settle("late", Charge(30, 0))
        await one.store.flush()
        assert await used(one, several) == [(130, 0)]
        with pytest.raises(StoreUnavailable):
            await take(one, "sent", several, 200)
        assert (await take(one, "new", several, 1)).left == (8,)


async def test_places_of_a_dead_worker_are_free_soon(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A living one renews them."""
    monkeypatch.setattr("app.stores.redis._TURN_S", 0.1)
    several = Allowances((), (Limit(TENANT, Measure.CONCURRENT, 9),))
    living, dead = Worker(redis, "living"), Worker(redis, "dead")
    for one in (living, dead):
        one.store._short_lease = 1.0
    async with running(living):
        await living.store.reserve(Claim("a", several, NOTHING))
        async with running(dead):
            await dead.store.reserve(Claim("b", several, NOTHING))
            await asyncio.sleep(1.5)
            assert (await dead.store.reserve(Claim("c", several, NOTHING))).left == (6,)
        await asyncio.sleep(1.5)
        assert (await living.store.reserve(Claim("d", several, NOTHING))).left == (7,)


async def test_a_worker_that_ends_gives_its_slices_back(redis: Redis) -> None:
    """At what was spent of them."""
    several = Allowances((day(10_000_000),), (Limit(TENANT, Measure.TOKENS, 1_000_000),))
    one = Worker(redis, "w")
    async with running(one):
        for index in range(3):
            verdict = await take(one, f"r{index}", several, 20)
            assert verdict.left[0] > 980_000
            one.store.settle(f"r{index}", Charge(5, 0))
            await asyncio.sleep(0.1)
        assert (await used(one, several))[0][1] > 0
        await one.store.give_back()
        assert await used(one, several) == [(15, 0)]


async def test_a_slow_server_costs_no_more_than_the_bound(redis: Redis) -> None:
    """The first callers wait 50 ms, later ones not at all, and what they may have taken is given back."""
    several = Allowances((day(1000),))
    one = Worker(redis, "w")
    async with running(one):
        redis.pause()
        try:
            began = time.monotonic()
            results = await asyncio.gather(*(take(one, f"r{n}", several, 10) for n in range(8)), return_exceptions=True)
            assert all(isinstance(result, StoreUnavailable) for result in results)
            assert time.monotonic() - began < 0.5
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await take(one, "later", several, 10)
            assert time.monotonic() - began < 0.02
        finally:
            redis.resume()
        await one.until(up=True)
        await one.settled()
        assert await used(one, several) == [(0, 0)]
        with pytest.raises(StoreUnavailable):
            await take(one, "r0", several, 10)


async def test_local_slice_goes_on_while_the_server_is_away(redis: Redis) -> None:
    """Within the slice and its time; a tenant that wants it closed is refused at once."""
    several = Allowances((day(10_000_000),))
    one = Worker(redis, "w")
    async with running(one):
        await take(one, "r", several, 20)
        await asyncio.sleep(0.1)
        redis.kill()
        await one.until(up=False)
        with pytest.raises(StoreUnavailable):
            await take(one, "closed", several, 20)
        local = Claim("local", several, Charge(20, 0), OnFailure.LOCAL_SLICE, sent=True)
        assert (await one.store.reserve(local)).refused is None
        await asyncio.sleep(2)
        with pytest.raises(StoreUnavailable):
            await one.store.reserve(replace(local, id="over"))


async def test_a_restarted_server_is_rebuilt_from_the_ledger(redis: Redis) -> None:
    """Closed until then; what is still open keeps its reservation and is settled exactly."""
    budget = day(1000)
    several = Allowances((budget,))
    one = Worker(redis, "w")
    async with running(one):
        await take(one, "open", several, 300)
        await take(one, "done", several, 200)
        one.store.settle("done", Charge(150, 0))
        await one.settled()
        redis.kill()
        await one.until(up=False)
        redis.start()
        await until(lambda: one.line.connected)
        with pytest.raises(StoreUnavailable):
            await take(one, "early", several, 1)
        start = budget.window.span(time.time())[0]
        opens = [Unsettled("open", several, time.time(), Charge(300, 300))]
        assert await open_epoch(one.line, one.store, [Spent(budget, start, 150)], opens)
        assert not await open_epoch(one.line, one.store)
        await one.until(up=True)
        assert await used(one, several) == [(150, 300)]
        assert (await take(one, "large", several, 551)).refused == 0
        one.store.settle("open", Charge(20, 0))
        await one.settled()
        assert await used(one, several) == [(170, 0)]


async def test_a_rebuild_that_lost_a_step_never_opens(redis: Redis) -> None:
    """The server was wiped between two of its commands."""
    budget = day(1000)
    one = Worker(redis, "w")
    async with running(one, background=False):
        redis.command("FLUSHALL")
        run = one.line.run

        async def wiped(count: int, encoded: bytes) -> list[int]:
            reply = await run(count, encoded)
            if b"join\r\n" in encoded:
                redis.command("FLUSHALL")
            return reply

        one.line.run = wiped  # type: ignore[method-assign]
        assert not await open_epoch(one.line, one.store, [Spent(budget, 0, 999)])
        assert redis.command("GET", "{sluicegate}:epoch") == b"$-1\r\n"


async def test_a_cancelled_caller_leaves_nothing(redis: Redis) -> None:
    """Its claim may have been taken already: it is given back."""
    several = Allowances((day(1000),))
    one = Worker(redis, "w", timeout=1.0)
    async with running(one):
        task = asyncio.create_task(take(one, "r", several, 10))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.settled()
        assert await used(one, several) == [(0, 0)]


async def test_the_outbox_has_an_end(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest settlements are dropped, counted, and left to their leases."""
    monkeypatch.setattr("app.stores.redis.OUTBOX", 3)
    one = Worker(redis, "w")
    for index in range(5):
        one.store.settle(f"r{index}", NOTHING)
    assert (one.store.waiting, one.store.dropped) == (3, 2)


async def test_all_keys_carry_the_hash_tag(redis: Redis) -> None:
    """So they lie in one slot."""
    several = Allowances(
        (day(10_000_000),), (Limit(TENANT, Measure.CONCURRENT, 9), Limit(TENANT, Measure.TOKENS, 10**6))
    )
    one = Worker(redis, "w")
    async with running(one):
        await take(one, "r", several, 10)
        await asyncio.sleep(0.05)
        keys = redis.command("KEYS", "*").split(b"\r\n")[2::2]
        assert len(keys) >= 5
        assert all(key.startswith(b"{sluicegate}:") for key in keys)


async def test_absurd_usage_is_kept_within_what_is_counted(redis: Redis) -> None:
    """However often an upstream claims it: the counter stays a number that the script can count with."""
    several = Allowances(
        (Budget(TENANT, Window.TOTAL, Unit.TOKENS, 1000), Budget(TENANT, Window.DAY, Unit.MONEY, 10**9))
    )
    one = Worker(redis, "absurd")
    async with running(one):
        for name in "abc":
            reply = await one.store.reserve(Claim(name, several, Charge(1 if name == "a" else 0, 0), sent=True))
            assert reply.refused is None
            one.store.settle(name, MOST)
            await one.settled()
        assert [found for found, _ in await used(one, several)] == [LARGEST, LARGEST]
        assert (await take(one, "d", several, 1)).refused is not None
