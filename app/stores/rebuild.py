"""Rebuilding what was spent from ledger and spools: at the start of a memory store, and whenever Redis lost its state.

The clocks that cut windows may differ by a little, so the windows of a minute ago and of a minute ahead are filled too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from app.entry import Entry
from app.metering import Allowances, Budget, Spent
from app.stores.delivery import Delivery, SinkUnavailable
from app.stores.line import Line
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore, Unsettled
from app.stores.resp import Unanswered
from app.stores.sql import Ledger

SKEW_S = 60.0
_POLL_S = 0.2
_log = logging.getLogger("sluicegate")


class Spending:
    """What this host knows was spent. `budgets` are all that are configured now; the spools are this host's."""

    def __init__(self, delivery: Delivery, ledger: Ledger, budgets: Callable[[], Iterable[Budget]]) -> None:
        self._delivery = delivery
        self._ledger = ledger
        self._budgets = budgets

    async def read(self, now: float) -> tuple[list[Spent], list[Entry]]:
        """What was spent in the windows around `now`, and the requests that are still open. Raises SinkUnavailable."""
        await self._delivery.turn()
        opened = self._delivery.unsettled()
        besides = {one.request_id for one in opened}
        found: dict[tuple[str, int], Spent] = {}
        for at in (now - SKEW_S, now, now + SKEW_S):
            for spent in await self._ledger.spent(self._budgets(), at, besides):
                found[spent.budget.name, spent.start] = spent
        return list(found.values()), opened


async def restore(store: MemoryStore, spending: Spending) -> None:
    """Fill a memory store before its first claim. Raises SinkUnavailable: do not serve then."""
    spent, _ = await spending.read(time.time())
    store.restore(spent)


class Rebuilder:
    """Watches the line to Redis and rebuilds the state when it is missing. Run `keep` in a background task.

    `scope` says which allowances an open request was reserved in. `wait` is the store's `slice_seconds`. One process of
    the host does it: the one that delivers.
    """

    def __init__(
        self,
        line: Line,
        store: RedisStore,
        delivery: Delivery,
        spending: Spending,
        scope: Callable[[Entry], Allowances],
        wait: float = 10.0,
    ) -> None:
        self.rebuilt = 0
        self._line = line
        self._store = store
        self._delivery = delivery
        self._spending = spending
        self._scope = scope
        self._wait = wait

    async def keep(self) -> None:
        """Rebuild whenever it is due. Ends by being cancelled."""
        missed: float | None = None
        while True:
            if not self._line.connected or self._line.epoch:
                missed = None
            elif missed is None:
                missed = time.monotonic()
            elif time.monotonic() - missed >= self._wait and self._delivery.claim():
                await self._rebuild()
            await asyncio.sleep(_POLL_S)

    async def _rebuild(self) -> None:
        try:
            spent, opened = await self._spending.read(time.time())
            unsettled = [Unsettled(one.request_id, self._scope(one), one.at, one.charged) for one in opened]
            if await self._store.rebuild(self._line.new_epoch(), spent, unsettled):
                self.rebuilt += 1
                _log.warning("redis' state was rebuilt", extra={"budgets": len(spent), "open": len(unsettled)})
        except (SinkUnavailable, Unanswered) as error:
            _log.warning("redis' state cannot be rebuilt yet", extra={"reason": str(error)})
