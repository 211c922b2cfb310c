"""Kept-alive connections, one pool per endpoint, last in first out; one timer for all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from app.exchange import Endpoint
from app.providers.heads import Heads

SLACK: Final = 0.25
"""Seconds by which an idle connection may be dropped early, so that one timer call takes several."""


JUST_NOW: Final = 0.02
"""Seconds of idleness after which a system call is spent on asking whether the upstream is still there."""


@dataclass(slots=True)
class Counts:
    """What connections were needed for, since the start."""

    opened: int = 0
    reused: int = 0
    """Requests on a connection that had served one before."""
    resent: int = 0
    """Requests sent once more, for the reused connection turned out to be closed."""


class Pooled(Protocol):
    """A connection that can be kept."""

    idle_since: float
    usable: bool

    def abort(self) -> None:
        """Close at once; ends in `Pool.lost`."""

    def quiet(self) -> bool:
        """Whether the upstream has neither closed nor sent anything that the loop has yet to see."""


C = TypeVar("C", bound=Pooled)


class Pool(Generic[C]):
    """The connections to one endpoint.

    `open` holds all of them, also those still being opened; `idle` those without a request, in the order in which they
    became idle.
    """

    __slots__ = ("_pools", "_time", "endpoint", "heads", "idle", "open")

    def __init__(self, endpoint: Endpoint, pools: Pools[C]) -> None:
        self._pools = pools
        self._time = asyncio.get_running_loop().time
        self.endpoint = endpoint
        self.heads = Heads(endpoint)
        self.idle: list[C] = []
        self.open: set[C] = set()

    def take(self, now: float) -> C | None:
        """The connection that was used last, if there is one that can still be trusted."""
        while self.idle:
            connection = self.idle.pop()
            idle = now - connection.idle_since
            if connection.usable and idle < self._pools.idle_limit and (idle < JUST_NOW or connection.quiet()):
                return connection
            connection.abort()
        return None

    def put(self, connection: C) -> None:
        """Keep a connection whose exchange has ended."""
        connection.idle_since = self._time()
        self.idle.append(connection)
        if not self._pools.sweeping:
            self._pools.sweep_later(connection.idle_since)

    def lost(self, connection: C) -> None:
        """A connection is gone, or was never made."""
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if not self.open:
            self._pools.forget(self)

    def drop_older(self, before: float) -> None:
        """Abort the connections that have been idle since `before` or longer."""
        idle = self.idle
        keep = next((i for i, connection in enumerate(idle) if connection.idle_since > before), len(idle))
        dropped = idle[:keep]
        del idle[:keep]
        for connection in dropped:
            connection.abort()


class Pools(Generic[C]):
    """All pools, and the timer that drops what is idle too long: before the upstream does (uvicorn's limit is 5 s)."""

    __slots__ = ("_loop", "_none_left", "_timer", "by_endpoint", "idle_limit", "sweeping")

    def __init__(self, idle_limit: float) -> None:
        self.idle_limit = idle_limit
        self._loop = asyncio.get_running_loop()
        self.by_endpoint: dict[Endpoint, Pool[C]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._none_left: asyncio.Future[None] | None = None
        self.sweeping = False

    def add(self, endpoint: Endpoint) -> Pool[C]:
        """A pool for an endpoint that has none."""
        pool = self.by_endpoint[endpoint] = Pool(endpoint, self)
        return pool

    def counts(self) -> dict[Endpoint, tuple[int, int]]:
        """Per endpoint that has any: connections open, and how many of them idle."""
        return {endpoint: (len(pool.open), len(pool.idle)) for endpoint, pool in self.by_endpoint.items() if pool.open}

    async def aclose(self, limit: float) -> None:
        """Abort every connection and wait, at most `limit` seconds, until they are gone."""
        if self._timer is not None:
            self._timer.cancel()
            self.sweeping = False
        for connection in [connection for pool in self.by_endpoint.values() for connection in pool.open]:
            connection.abort()
        if any(pool.open for pool in self.by_endpoint.values()):
            self._none_left = self._loop.create_future()
            await asyncio.wait([self._none_left], timeout=limit)

    def sweep_later(self, oldest: float) -> None:
        """Sweep when what is idle since `oldest` has been so too long."""
        self.sweeping = True
        self._timer = self._loop.call_at(oldest + self.idle_limit - SLACK, self._sweep)

    def forget(self, pool: Pool[C]) -> None:
        """A pool without connections goes, so that replicas which come and go leave nothing behind."""
        if self.by_endpoint.get(pool.endpoint) is pool:
            del self.by_endpoint[pool.endpoint]
        if self._none_left is not None and not self.by_endpoint and not self._none_left.done():
            self._none_left.set_result(None)

    def _sweep(self) -> None:
        self.sweeping = False
        before = self._loop.time() - self.idle_limit + SLACK
        for pool in list(self.by_endpoint.values()):
            pool.drop_older(before)
        oldest = [pool.idle[0].idle_since for pool in self.by_endpoint.values() if pool.idle]
        if oldest:
            self.sweep_later(min(oldest))
