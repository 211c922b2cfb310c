"""Budgets and limits of one process: the store that requests reserve in, what fills it, and what tells of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from secrets import token_hex
from socket import gethostname

from app.books import Books
from app.config import Secret
from app.config.service import Stores
from app.entry import Entry
from app.exchange import Arm, JsonObject
from app.metering import FOREVER, Allowances, Budget, Level, Unit
from app.pipeline.reservation import StoreUnavailable
from app.stores.delivery import SinkUnavailable
from app.stores.hosts import Host
from app.stores.line import Address, Line
from app.stores.memory import MemoryStore
from app.stores.rebuild import Rebuilder, Spending, restore
from app.stores.redis import SCRIPT, RedisStore
from app.stores.resp import Unanswered
from app.stores.usage import usd
from app.table import State
from app.tasks import TaskGroup
from app.telemetry import (
    BUDGET_LIMIT,
    BUDGET_RESERVED,
    BUDGET_USED,
    DROPPED,
    LIMITS_REBUILT,
    LIMITS_UP,
    UNKNOWN,
    Metric,
    Telemetry,
)

FILLED_WITHIN_S = 10.0
"""Seconds that a process which begins waits for what was spent before; later, budgets are closed until it is known."""
OPENED_WITHIN_S = 15.0
"""The same where Redis knows nothing of it: a rebuild waits ten seconds for requests of before."""
CONNECTED_WITHIN_S = 1.0
"""Seconds that it waits for a Redis that does not answer."""
LAST_WORD_S = 1.0
"""Seconds that a process which ends gives its last settlements; what is left ends by its lease."""
_LOOK_S = 2.0
_RETRY_S = 0.25
_SEEN_S = 30.0
_log = logging.getLogger("sluicegate")


class Limits:
    """Made in a running loop. `workers` share the store where it is Redis.

    `known` is set once the budgets that the database holds stand in the table: only then it is asked what was spent of
    them and of the file's.
    """

    def __init__(
        self, stores: Stores, workers: int, books: Books, state: State, telemetry: Telemetry, known: asyncio.Event
    ) -> None:
        where = stores.limits.reveal() if isinstance(stores.limits, Secret) else stores.limits
        self._state = state
        self._telemetry = telemetry
        self._books = books
        self._known = known
        self._spending = Spending(books.delivery, books.rows, self._budgets)
        self._dropped = self._rebuilt = 0
        self._shown: set[tuple[Metric, str, str, str]] = set()
        self.store: MemoryStore | RedisStore
        if where == "memory":
            self.store = self._memory = MemoryStore()
            self._memory.ready = False
            self._line: Line | None = None
        else:
            self._line = Line(Address.parse(where), SCRIPT, stores.limits_timeout, lambda: None)
            name = f"{gethostname()}.{os.getpid()}.{token_hex(4)}"
            self.store = self._redis = RedisStore(self._line, name=name, workers=workers)
            self._rebuilder = Rebuilder(
                self._line, self._redis, books.delivery, self._spending, books.hosts, self._scope
            )

    @property
    def shared(self) -> bool:
        """Whether the store is one for many workers and hosts."""
        return self._line is not None

    @property
    def reason(self) -> str | None:
        """Why nothing can be taken from budgets; None while it can."""
        if self._line is None:
            open_ = self._memory.ready or not self._state.table.scopes.every.budgets
            return None if open_ else "what was spent before is not known yet"
        if self._line.up:
            return None
        if self._line.stalled:
            return "does not answer in time"
        if self._line.connected:
            return f"closed until its state is rebuilt{_waiting_for(self._rebuilder.awaited)}"
        return "not reachable" if self._books.hosts.own else "this host is not in the database yet"

    @property
    def serves_nobody(self) -> bool:
        """Whether every request needs the store, and it does not answer."""
        return self.reason is not None and self._state.table.scopes.always

    async def start(self, tasks: TaskGroup) -> None:
        """Keep the store from now on; ends with the tasks. Returns once what was spent is known, or not in time."""
        if self._line is not None:
            tasks.spawn("limits-line", self._connect(self._line))
            tasks.spawn("limits-store", self._redis.work())
            tasks.spawn("limits-rebuild", self._rebuild())
            await self._opened(self._line)
        else:
            filled = tasks.spawn("limits-fill", self._fill())
            if self._state.table.scopes.every.budgets:
                await asyncio.wait([filled], timeout=FILLED_WITHIN_S)
        tasks.spawn("limits-levels", self._tell())

    async def aclose(self) -> None:
        """Give back what this process holds. Before the tasks are ended."""
        if self._line is not None:
            try:
                async with asyncio.timeout(LAST_WORD_S):
                    await self._redis.give_back()
            except (Unanswered, TimeoutError) as error:
                _log.warning("the limit store did not hear the last settlements", extra={"reason": str(error)})

    async def documents(self) -> list[JsonObject]:
        """How full every configured budget is, for operators. Raises `StoreUnavailable`."""
        levels = await self.store.levels(self._state.table.scopes.every)
        return [_document(level, time.time()) for level in levels]

    async def _opened(self, line: Line) -> None:
        """Wait until Redis admits: it has to be rebuilt first where it knows nothing. Not for one that is away."""
        begun = since = time.monotonic()
        while not line.up and not self._state.table.scopes.nothing:
            now = time.monotonic()
            if self._books.hosts.own is None:
                since = now  # it connects once this host is registered
            if now - begun > OPENED_WITHIN_S or (now - since > CONNECTED_WITHIN_S and not line.connected):
                return
            await asyncio.sleep(0.02)

    async def _connect(self, line: Line) -> None:
        """Keep the line, once the other hosts can know of this one: before that nothing may be taken from budgets."""
        while not await self._registered():  # noqa: ASYNC110 # a file and a database: no event tells of them
            await asyncio.sleep(_RETRY_S if self._books.reason else 0.01)
        await line.keep()

    async def _registered(self) -> bool:
        hosts = self._books.hosts
        try:
            return hosts.own is not None or (self._books.reason is None and await hosts.register())
        except (SinkUnavailable, OSError) as error:
            _log.warning("this host cannot be registered yet", extra={"reason": str(error)})
            return False

    def _budgets(self) -> Iterable[Budget]:
        return self._state.table.scopes.every.budgets

    def _scope(self, entry: Entry) -> Allowances:
        """What an open request was reserved in: a copy in its shadow's budget, and in nobody else's."""
        if entry.arm == Arm.SHADOW:
            model = self._state.table.models.get(entry.model)
            shadow = model.shadow if model is not None else None
            return shadow.allowances if shadow is not None else Allowances()
        return self._state.table.scopes.of(entry.tenant, entry.key, entry.model).reserve

    async def _rebuild(self) -> None:
        await self._known.wait()
        await self._rebuilder.keep()

    async def _fill(self) -> None:
        await self._known.wait()
        self._memory.ready = not self._state.table.scopes.every.budgets
        while not self._memory.ready:
            try:
                if self._books.reason is None and self._books.delivery.claim():
                    await restore(self._memory, self._spending)
                    return
            except (SinkUnavailable, OSError) as error:
                _log.warning("what was spent before cannot be read yet", extra={"reason": str(error)})
            await asyncio.sleep(_RETRY_S if self._books.reason else 0.01)

    async def _tell(self) -> None:
        """Keep the gauges; those of budgets in the process that delivers the ledger, so that one asks for all."""
        seen_at = 0.0
        while True:
            if self._line is not None and self._books.delivery.delivers and time.monotonic() >= seen_at:
                seen_at = time.monotonic() + _SEEN_S
                with suppress(SinkUnavailable):  # told by the ledger's own state
                    await self._books.hosts.seen()
            self._telemetry.gauge(LIMITS_UP).set(self.reason is None)
            if self._line is not None:
                self._telemetry.counter(DROPPED, "settlements").inc(self._redis.dropped - self._dropped)
                self._telemetry.counter(LIMITS_REBUILT).inc(self._rebuilder.rebuilt - self._rebuilt)
                self._dropped, self._rebuilt = self._redis.dropped, self._rebuilder.rebuilt
            if not self._books.delivery.delivers:
                self._show([])
            else:
                with suppress(StoreUnavailable):  # told by LIMITS_UP
                    self._show(await self.store.levels(self._state.table.scopes.shown))
            await asyncio.sleep(_LOOK_S)

    def _show(self, levels: list[Level]) -> None:
        shown, self._shown = self._shown, set()
        for level in levels:
            labels = scope_name(level.budget), level.budget.window, level.budget.unit
            for metric, amount in (
                (BUDGET_LIMIT, level.budget.limit),
                (BUDGET_USED, level.used),
                (BUDGET_RESERVED, level.reserved),
            ):
                self._telemetry.gauge(metric, *labels).set(amount / 1e9 if level.budget.unit is Unit.MONEY else amount)
                self._shown.add((metric, *labels))
        for metric, *gone in shown - self._shown:  # a budget that the configuration has no more
            self._telemetry.gauge(metric, *gone).set(UNKNOWN)


def _waiting_for(hosts: tuple[Host, ...]) -> str:
    """Which hosts have to tell what they spent first."""
    names = ", ".join(f"{one.name} ({one.id})" for one in hosts)
    return f": waiting for {names}" if names else ""


def scope_name(budget: Budget) -> str:
    """`everything`, `model:chat`, `tenant:search-team`, `key:search-team/ci`."""
    scope = budget.scope
    return f"{scope.kind}:{scope.name.replace(' ', '/')}" if scope.name else str(scope.kind)


def _document(level: Level, now: float) -> JsonObject:
    """A level; money in US dollars as exact decimal text, tokens as integers."""
    budget = level.budget
    start, end = budget.window.span(now)
    amounts = {
        "limit": budget.limit,
        "used": level.used,
        "reserved": level.reserved,
        "left": max(0, budget.limit - level.used - level.reserved),
        "overage": level.overage,
    }
    shown = {name: usd(n) if budget.unit is Unit.MONEY else n for name, n in amounts.items()}
    where: JsonObject = {"scope": scope_name(budget), "window": budget.window, "unit": budget.unit}
    return {**where, **shown, "window_start": start, "window_end": end if end < FOREVER else None}
