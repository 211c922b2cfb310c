"""An epoch is put together by all hosts, and opened by nobody before the last of them has told what it holds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from app.metering import Allowances, Budget, Charge, Claim, Scope, ScopeKind, Spent, Unit, Window
from app.stores.assembly import Assembly, Unsettled
from app.stores.line import Address, Line
from app.stores.redis import SCRIPT, RedisStore
from app.tasks import TaskGroup
from tests.support.redis import Redis
from tests.support.waiting import until

BUDGET = Budget(Scope(ScopeKind.EVERYTHING), Window.DAY, Unit.TOKENS, 1000)
SCOPE = Allowances((BUDGET,))


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A real server."""
    with Redis() as server:
        yield server


class Host:
    """One host's part."""

    def __init__(self, redis: Redis, name: str) -> None:
        self.line = Line(Address.parse(redis.url), SCRIPT, 1.0, lambda: None)
        self.store = RedisStore(self.line, name=name, workers=1)
        self.assembly = Assembly(self.line, self.store)


@pytest.fixture
async def hosts(redis: Redis) -> AsyncIterator[tuple[Host, Host]]:
    """Two, and a server that knows nothing."""
    redis.command("FLUSHALL")
    both = Host(redis, "a"), Host(redis, "b")
    tasks = TaskGroup("test")
    for one in both:
        tasks.spawn("line", one.line.keep())
    await until(lambda: all(one.line.connected for one in both))
    yield both
    await tasks.aclose()


async def epoch_of(host: Host) -> str:
    """The name of the epoch that is to come."""
    return f"{host.line.server}.{await host.assembly.lost()}"


def held(name: str, tokens: int) -> Unsettled:
    """A request that is open."""
    return Unsettled(name, SCOPE, time.time(), Charge(tokens, 0))


async def test_it_opens_when_all_have_joined(hosts: tuple[Host, Host]) -> None:
    """Both name the loss alike; who is missing is told; what was brought is held, the rest is the ledger's."""
    one, other = hosts
    epoch = await epoch_of(one)
    assert epoch == await epoch_of(other)
    assert await one.assembly.join(epoch, "a", [held("x", 100)])
    found = await one.assembly.joined(epoch, ["a", "b"])
    assert found is not None
    assert (found.absent, found.ids) == (frozenset("b"), frozenset("x"))
    assert await other.assembly.join(epoch, "b", [held("y", 50), held("z", 7)])
    start = BUDGET.window.span(time.time())[0]
    assert not await one.assembly.open(epoch, found.steps, [Spent(BUDGET, start, 200)]), "b came after it had looked"
    found = await one.assembly.joined(epoch, ["a", "b"])
    assert found is not None
    assert (found.absent, found.ids) == (frozenset(), frozenset("xyz"))
    assert await one.assembly.open(epoch, found.steps, [Spent(BUDGET, start, 200)])
    assert await other.assembly.lost() is None
    await until(lambda: one.line.up and other.line.up)
    [level] = await other.store.levels(SCOPE)
    assert (level.used, level.reserved) == (200, 157)
    assert (await one.store.reserve(Claim("large", SCOPE, Charge(644, 0), sent=True))).refused == 0
    assert (await one.store.reserve(Claim("fits", SCOPE, Charge(643, 0), sent=True))).refused is None


async def test_what_comes_after_another_loss_is_refused(redis: Redis, hosts: tuple[Host, Host]) -> None:
    """Wiped while it was put together: it has another name then, and nobody can open the old one."""
    one, other = hosts
    epoch = await epoch_of(one)
    assert await one.assembly.join(epoch, "a", [])
    redis.command("FLUSHALL")
    assert await epoch_of(other) != epoch
    assert not await other.assembly.join(epoch, "b", [held("y", 50)])
    assert await one.assembly.joined(epoch, ["a"]) is None
    assert not await one.assembly.open(epoch, 1, [])
    assert not await one.assembly.open(epoch, 0, [])


async def test_nothing_is_added_to_an_open_epoch(hosts: tuple[Host, Host]) -> None:
    """A join that comes late is refused: its host finds the epoch open."""
    one, other = hosts
    epoch = await epoch_of(one)
    assert await one.assembly.join(epoch, "a", [])
    assert await one.assembly.open(epoch, 1, [])
    assert not await other.assembly.join(epoch, "b", [held("y", 50)])
    assert await other.assembly.joined(epoch, ["b"]) is None
