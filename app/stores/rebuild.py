"""Rebuilding what was spent from ledger and spools: at the start of a memory store, and whenever Redis lost its state.

The clocks that cut windows may differ by a little, so the windows of a minute ago and of a minute ahead are filled too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable

from app.entry import Entry
from app.metering import Allowances, Budget, Spent
from app.stores.assembly import Assembly, Unsettled
from app.stores.delivery import Delivery, SinkUnavailable
from app.stores.hosts import Host, Hosts
from app.stores.line import Line
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from app.stores.resp import Unanswered
from app.stores.sql import Ledger

SKEW_S = 60.0
_POLL_S = 0.2
_log = logging.getLogger("sluicegate")


class Spending:
    """What this host can tell of spending: `budgets` are all that are configured now; the spools are its own."""

    def __init__(self, delivery: Delivery, ledger: Ledger, budgets: Callable[[], Iterable[Budget]]) -> None:
        self._delivery = delivery
        self._ledger = ledger
        self._budgets = budgets

    async def opened(self) -> list[Entry]:
        """Deliver what has ended; the requests that are still open here, at their bounds. Raises SinkUnavailable."""
        await self._delivery.turn()
        return self._delivery.unsettled()

    async def sums(self, now: float, besides: Collection[str]) -> list[Spent]:
        """What the ledger says was spent in the windows around `now`, but for some requests. Raises SinkUnavailable."""
        found: dict[tuple[str, int], Spent] = {}
        for at in (now - SKEW_S, now, now + SKEW_S):
            for spent in await self._ledger.spent(self._budgets(), at, besides):
                found[spent.budget.name, spent.start] = spent
        return list(found.values())


async def restore(store: MemoryStore, spending: Spending) -> None:
    """Fill a memory store before its first claim. Raises SinkUnavailable: do not serve then."""
    opened = await spending.opened()
    store.restore(await spending.sums(time.time(), {one.request_id for one in opened}))


class Rebuilder:
    """Watches the line to Redis and rebuilds the state when it is missing, together with the other hosts.

    Run `keep` in a background task of every worker: the one that delivers for its host acts. `scope` says which
    allowances an open request was reserved in. `wait` is the store's `slice_seconds`.
    """

    def __init__(
        self,
        line: Line,
        store: RedisStore,
        delivery: Delivery,
        spending: Spending,
        hosts: Hosts,
        scope: Callable[[Entry], Allowances],
        wait: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rebuilt = 0
        self.awaited: tuple[Host, ...] = ()
        """Hosts without which the state cannot be rebuilt; known where this process delivers."""
        self._line = line
        self._assembly = Assembly(line, store)
        self._delivery = delivery
        self._spending = spending
        self._hosts = hosts
        self._scope = scope
        self._wait = wait
        self._clock = clock
        self._loss = ("", 0.0)
        self._joined = ""

    async def keep(self) -> None:
        """Rebuild whenever it is due. Ends by being cancelled."""
        while True:
            if self._line.connected and not self._line.epoch and self._delivery.claim():
                try:
                    await self.go_on()
                except (SinkUnavailable, Unanswered, OSError) as error:
                    _log.warning("redis' state cannot be rebuilt yet", extra={"reason": str(error)})
            else:
                self.awaited = ()
            await asyncio.sleep(_POLL_S)

    async def go_on(self) -> None:
        """One step of a rebuild, where one is due. Raises SinkUnavailable and Unanswered: nothing is lost then."""
        number, own = await self._assembly.lost(), self._hosts.own
        if number is None or own is None:
            return
        epoch = f"{self._line.server}.{number}"
        if self._loss[0] != epoch:
            self._loss = epoch, self._clock()
        if self._clock() - self._loss[1] < self._wait:
            return
        if self._joined != epoch:
            opened = await self._spending.opened()
            unsettled = [Unsettled(one.request_id, self._scope(one), one.at, one.charged) for one in opened]
            if await self._assembly.join(epoch, own, unsettled):
                self._joined = epoch
        if self._joined == epoch:
            await self._open(epoch)

    async def _open(self, epoch: str) -> None:
        """Open the epoch if everybody is in it."""
        known = await self._hosts.known()
        found = await self._assembly.joined(epoch, [one.id for one in known])
        if found is None:
            return
        self._tell(tuple(one for one in known if one.id in found.absent))
        if self.awaited:
            return
        spent = await self._spending.sums(time.time(), found.ids)
        if await self._assembly.open(epoch, found.steps, spent):
            self.rebuilt += 1
            told = {"budgets": len(spent), "open": len(found.ids), "hosts": len(known)}
            _log.warning("redis' state was rebuilt", extra=told)

    def _tell(self, absent: tuple[Host, ...]) -> None:
        if absent and absent != self.awaited:
            names = [f"{one.name} ({one.id})" for one in absent]
            _log.error("budgets stay closed until these hosts have told what they spent", extra={"hosts": names})
        self.awaited = absent
