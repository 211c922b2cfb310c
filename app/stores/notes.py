"""Observations of rollouts on their way from this worker to the store: gathered here, written in batches, off the path.

A batch says which requests started and how others ended. What started in one is never told after it has ended, so the
order of starts does not hang on results. Bounded: past the bounds a request is not observed at all, which no result
decides; one that is observed is always told how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import orjson

from app.cells import Counter
from app.exchange import Result
from app.table import Watch

EVERY = 0.1
"""Seconds between two batches."""
OPEN_MOST = 20_000
"""Starts and ends that the store has not been told yet, those that are still to come included."""
BATCHES_MOST = 20
"""Batches that wait; while there are so many, the next one grows."""
UNITS_MOST = 200_000
"""Sticky units that are remembered per weight."""


class StoreUnavailable(Exception):
    """The store did not take it."""


class Batches(Protocol):
    """Where batches go."""

    async def put(self, model: str, body: str) -> None:
        """Keep a batch. Raises StoreUnavailable."""
        ...


@dataclass(slots=True)
class _Pending:
    """What is not written yet, of one epoch of one rollout."""

    epoch: int
    units: set[float] = field(default_factory=set)
    starts: list[list[Any]] = field(default_factory=list)
    ends: list[list[Any]] = field(default_factory=list)
    answered: int = 0
    skipped: int = 0

    def take(self) -> str:
        """The batch as JSON; what it holds is forgotten here."""
        document = {"epoch": self.epoch, "starts": self.starts, "ends": self.ends}
        document |= {"answered": self.answered, "skipped": self.skipped}
        self.starts, self.ends, self.answered, self.skipped = [], [], 0, 0
        return orjson.dumps(document).decode()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.starts or self.ends or self.answered or self.skipped)


_Open = tuple[Watch, Callable[[], Result], float]


class Notes:
    """Implements `pipeline.observe.Notes`. `clock` is monotonic; `dropped` counts what was not observed for a bound."""

    def __init__(self, store: Batches, dropped: Counter, clock: Callable[[], float]) -> None:
        self._store = store
        self._dropped = dropped
        self._clock = clock
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._open: dict[str, _Open] = {}
        self._unwritten: list[tuple[str, str, int]] = []
        self._waiting = 0

    def started(
        self, watch: Watch, request_id: str, unit: float | None, peek: Callable[[], Result], *, candidate: bool
    ) -> bool:
        """Whether the request is observed: its unit's first at this weight, as far as this worker knows."""
        pending = self._of(watch)
        if unit is not None and unit in pending.units:
            return False
        if self._waiting >= OPEN_MOST or len(pending.units) >= UNITS_MOST:
            pending.skipped += 1
            self._dropped.inc()
            return False
        if unit is not None:
            pending.units.add(unit)
        self._waiting += 2  # its start, and room for its end
        self._open[request_id] = watch, peek, self._clock()
        pending.starts.append([request_id, None if unit is None else unit.hex(), int(candidate)])
        return True

    def ended(self, watch: Watch, request_id: str, result: Result, *, candidate: bool, observed: bool) -> None:
        """Take note of the end; every request that the candidate answered is counted, observed or not."""
        pending = self._of(watch)
        if candidate and not result.void:
            pending.answered += 1
        if observed and self._open.pop(request_id, None) is not None:  # else it was told at the horizon
            pending.ends.append([request_id, compact(result)])

    async def run(self) -> None:
        """Write, again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what there is. What the store does not take waits for the next time."""
        self._horizon()
        if len(self._unwritten) < BATCHES_MOST:
            running = {(watch.model, watch.epoch) for watch, _, _ in self._open.values()}
            for (model, epoch), pending in list(self._pending.items()):
                if not pending.empty:
                    size = len(pending.starts) + len(pending.ends)
                    self._unwritten.append((model, pending.take(), size))
                elif (model, epoch) not in running:
                    self._retire(model, epoch)
        with contextlib.suppress(StoreUnavailable):  # told by whoever needs the same database
            while self._unwritten:
                model, body, size = self._unwritten[0]
                await self._store.put(model, body)
                del self._unwritten[0]
                self._waiting -= size

    def _horizon(self) -> None:
        """Tell what has run for too long as it stands."""
        now = self._clock()
        for request_id, (watch, peek, began) in list(self._open.items()):
            if now - began >= watch.horizon:
                del self._open[request_id]
                self._of(watch).ends.append([request_id, compact(peek())])

    def _of(self, watch: Watch) -> _Pending:
        key = watch.model, watch.epoch
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(watch.epoch)
        return pending

    def _retire(self, model: str, epoch: int) -> None:
        """Forget an epoch that a later one of the same rollout has replaced."""
        if any(other == model and later > epoch for other, later in self._pending):
            del self._pending[model, epoch]


_DEFAULTS = {one.name: one.default for one in fields(Result)}


def compact(result: Result) -> dict[str, Any]:
    """A result as JSON, without what is as usual."""
    found = ((name, getattr(result, name)) for name in _DEFAULTS)
    return {name: value for name, value in found if value != _DEFAULTS[name]}
