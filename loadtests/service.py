"""What a real Redis takes for each kind of call that the limit store makes: CPU, from the kernel's accounting.

Calls are encoded by the store's own code and asked over its own line, over several connections at once, as a fleet
does: a server that finds many calls waiting takes less for each than one that is woken for every one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from app.metering import Allowances, Budget, Charge, Claim, Scope, ScopeKind, Unit, Window
from app.stores.escrow import rows
from app.stores.line import TAG, Address, Line
from app.stores.redis import SCRIPT, RedisStore, arguments, encode_rows, reservation
from app.stores.resp import Connection
from app.tasks import TaskGroup
from loadtests import cpu
from loadtests.saturation import Cost, Service, through
from tests.support.epochs import open_epoch
from tests.support.redis import Redis
from tests.support.waiting import until

SPENT = 250
"""Tokens of a request; its bound is four times as much."""
BOUND = 4
PLENTY = 10**12
_LEASE = b"900"
_BATCHES = (1, 50)
_ROWS = (1, 8)
_LEVELS = (8, 200)

Call = tuple[int, bytes]


@dataclass(slots=True)
class Worker:
    """A worker's store and its line to Redis."""

    line: Line
    store: RedisStore


@asynccontextmanager
async def workers(server: Redis, many: int, per_host: int) -> AsyncIterator[list[Worker]]:
    """So many, in an epoch; each believes that its host has `per_host`."""
    tasks = TaskGroup("fleet")
    made = []
    for number in range(many):
        link = Line(Address.parse(server.url), SCRIPT, 5.0, lambda: None)
        made.append(Worker(link, RedisStore(link, name=f"fleet-{number}", workers=per_host)))
        tasks.spawn("line", link.keep())
    try:
        await until(lambda: all(one.line.connected for one in made))
        await open_epoch(made[0].line, made[0].store)
        await until(lambda: all(one.line.up for one in made))
        for one in made:
            tasks.spawn("store", one.store.work())
        yield made
    finally:
        await tasks.aclose()


def budgets(many: int, limit: int = PLENTY, name: str = "m") -> Allowances:
    """So many budgets of one kind."""
    return Allowances(
        tuple(Budget(Scope(ScopeKind.MODEL, f"{name}{n}"), Window.TOTAL, Unit.TOKENS, limit) for n in range(many))
    )


async def calls(server: Redis, lines: Sequence[Line], every: Sequence[Call], pause: float) -> float:
    """CPU seconds of Redis for each of these calls, over all lines at once, with `pause` seconds before each."""
    waiting = iter(every)

    async def some(link: Line) -> None:
        for one in waiting:
            if pause:
                await asyncio.sleep(pause)
            await link.run(*one)

    before = cpu.cpu_seconds([server.pid])
    await asyncio.gather(*map(some, lines))
    return (cpu.cpu_seconds([server.pid]) - before) / len(every)


class Bench:
    """Measures `many` calls of most kinds over the lines of `crew`, each after a pause; ids are never used again."""

    def __init__(self, server: Redis, crew: Sequence[Worker], many: int, pause: float = 0.0) -> None:
        self._pause = pause
        self._server, self._lines, self._many = server, [one.line for one in crew], many
        self._store, self._epoch = crew[0].store, crew[0].line.epoch
        self._ids = map(str, count())

    async def measure(self) -> Service:
        """All kinds."""
        few, many = _ROWS
        narrow, one = await self._reserve(budgets(few))
        wide, several = await self._reserve(budgets(many))
        half = self._many // 2
        single = await self._settle(wide[:half], _BATCHES[0])
        batch = through((_BATCHES[0], single), (_BATCHES[1], await self._settle(wide[half:], _BATCHES[1])))
        narrowly = max(0.0, (await self._settle(narrow[half:], _BATCHES[1]) - batch.base) / _BATCHES[1])
        return Service(
            reserve=through((few, one), (many, several)),
            settle=Cost(batch.base),
            ended=through((few, narrowly), (many, batch.each)),
            draw=await self._line(self._draw, _ROWS),
            renew=await self._line(self._renew, _BATCHES),
            levels=await self._line(self._levels, _LEVELS),
            reap=Cost(await self._ask([self._args(b"reap", b"100")] * self._many)),
            poll=Cost(await self._poll()),
        )

    async def _line(self, make: Callable[[int], Iterable[Call]], sizes: tuple[int, int]) -> Cost:
        few, many = sizes
        return through((few, await self._ask(list(make(few)))), (many, await self._ask(list(make(many)))))

    async def _ask(self, every: Sequence[Call]) -> float:
        return await calls(self._server, self._lines, every, self._pause)

    def _args(self, operation: bytes, *parts: bytes) -> Call:
        return arguments(operation, self._epoch, *parts)

    async def _reserve(self, allowances: Allowances) -> tuple[list[str], float]:
        ids = [next(self._ids) for _ in range(self._many)]
        encoded = encode_rows(rows(allowances, time.time()))
        claims = [Claim(one, allowances, Charge(BOUND * SPENT, 0), sent=True) for one in ids]
        every = [
            reservation(b"reserve", self._epoch, allowances, encoded + self._store.encode_claim(one)) for one in claims
        ]
        return ids, await self._ask(every)

    async def _settle(self, ids: Sequence[str], size: int) -> float:
        batches = [ids[at : at + size] for at in range(0, len(ids), size)]
        spent = b"%d" % SPENT
        every = [
            self._args(b"settle", b"%d" % len(some), *(part for one in some for part in (one.encode(), spent, b"0")))
            for some in batches
        ]
        return await self._ask(every)

    def _draw(self, slices: int) -> Iterable[Call]:
        wanted = rows(budgets(slices, name="drawn"), time.time())
        for _ in range(self._many // 2):
            parts = [b"1", _LEASE, b"%d" % slices]
            for row in wanted:
                numbers = [b"%d" % one for one in (row.limit, SPENT, row.start, row.end)]
                parts += [next(self._ids).encode(), b"e", row.allowance.name.encode(), *numbers]
            yield self._args(b"draw", *parts)

    def _renew(self, leases: int) -> Iterable[Call]:
        one = self._args(b"renew", b"30", b"%d" % leases, *[b"%d" % number for number in range(leases)])
        return [one] * (self._many // 2)

    def _levels(self, several: int) -> Iterable[Call]:
        keys = [row.key.encode() for row in rows(budgets(several), time.time())]
        return [self._args(b"levels", b"%d" % several, *keys)] * (self._many // 4)

    async def _poll(self) -> float:
        at, loop = Address.parse(self._server.url), asyncio.get_running_loop()
        links = [
            (await loop.create_connection(lambda: Connection(5.0), at.host, at.port))[1]
            for _ in range(len(self._lines))
        ]

        async def some(link: Connection) -> None:
            for _ in range(self._many // len(links)):
                if self._pause:
                    await asyncio.sleep(self._pause)
                await link.command(b"GET", TAG + b":epoch")

        before = cpu.cpu_seconds([self._server.pid])
        await asyncio.gather(*map(some, links))
        used = cpu.cpu_seconds([self._server.pid]) - before
        for link in links:
            link.close()
        return used / (self._many // len(links) * len(links))
