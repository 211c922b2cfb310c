"""Blocks of units in the order in which they started, and when a block is complete.

The order matters. A failing request often ends late, by a time-out. Whoever takes results as they come sees the good
ones first, and with a falling weight stable's and the candidate's are then mixed in the wrong proportions: 10 false
alarms in 100 at α = 5 %. Here a block is filled by starts alone, is handed over when all its units have ended or timed
out, and never before an earlier block.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from app.control.gates import Observed
from app.control.units import Meeting
from app.exchange import Result

SMALLEST, LARGEST = 20, 1000
"""Units per block: a fiftieth of those seen so far, within these. Small at first, when little is known of stable."""

_Key = tuple[int, str]
"""Epoch and name of a unit."""


def block_size(seen: int) -> int:
    """How many units the next block takes after so many."""
    return SMALLEST if seen < 50 * SMALLEST else min(seen // 50, LARGEST)


@dataclass(slots=True)
class _Unit:
    candidate: bool
    block: _Block
    results: dict[str, Result | None] = field(default_factory=dict)
    ended: int = 0


@dataclass(slots=True)
class _Block:
    key: tuple[int, float]
    opened: float
    last: float
    waiting: int = 0
    units: dict[_Key, _Unit] = field(default_factory=dict)


class Book:
    """Fills blocks and hands them over. All times are seconds of one clock that the caller reads.

    A block takes units of one epoch and cohort: `block_size` of them, or those of `pace` seconds if they are enough, or
    those of `span` seconds. A unit is observed in its first `requests` requests, until `horizon` seconds after the
    block's last start; a request that has not ended by then counts as `unfinished`, by default as failed, so that
    `horizon` should be longer than requests may take. A shorter one with a milder `unfinished` is as valid (what is
    counted is then what went wrong within that time) and quicker, for every block waits for its slowest request.
    At most `capacity` units are observed at a time; how many did not fit is `skipped`. What is pending may be lost in a
    restart: that depends on results no more than the crash does.
    """

    def __init__(
        self,
        *,
        horizon: float,
        unfinished: Result | None = None,
        requests: int = 1,
        pace: float = 1.0,
        span: float = 60.0,
        capacity: int = 100_000,
    ) -> None:
        self._unfinished = unfinished or Result(error=True, streamed=True, total_s=horizon)
        self._horizon, self._requests, self._capacity = horizon, requests, capacity
        self._pace, self._span = pace, span
        self._seen = 0
        self._open: dict[tuple[int, float], _Block] = {}
        self._sealed: deque[_Block] = deque()
        self._units: dict[_Key, _Unit] = {}
        self._running: dict[str, _Unit] = {}
        self.skipped = 0

    def started(self, request: str, meeting: Meeting, at: float, *, candidate: bool) -> bool:
        """A request has started; whether it is observed: if it is among its unit's first."""
        if meeting.number > self._requests:
            return False
        unit = self._units.get((meeting.epoch, meeting.unit))
        if unit is None and meeting.number == 1:
            unit = self._enter(meeting, at, candidate=candidate)
        if unit is None or unit.candidate != candidate:
            return False
        unit.results[request] = None
        self._running[request] = unit
        return True

    def ended(self, request: str, result: Result) -> None:
        """The result of a request; ignored if it is not observed, or comes after its block was handed over."""
        unit = self._running.pop(request, None)
        if unit is not None:
            unit.results[request] = result
            unit.ended += 1
            if unit.ended == self._requests:
                unit.block.waiting -= 1

    def closed(self, now: float) -> list[Observed]:
        """The blocks that have become complete, in their order."""
        for block in [block for block in self._open.values() if self._full(block, now)]:
            self._seal(block)
        ready = []
        while self._sealed and (not self._sealed[0].waiting or now >= self._sealed[0].last + self._horizon):
            ready.append(self._hand_over(self._sealed.popleft()))
        return ready

    def _enter(self, meeting: Meeting, at: float, *, candidate: bool) -> _Unit | None:
        if len(self._units) >= self._capacity:
            self.skipped += 1
            return None
        block = self._block((meeting.epoch, meeting.cohort), at)
        key = meeting.epoch, meeting.unit
        unit = self._units[key] = block.units[key] = _Unit(candidate, block)
        block.waiting += 1
        block.last = at
        self._seen += 1
        if len(block.units) >= block_size(self._seen):
            self._seal(block)
        return unit

    def _block(self, key: tuple[int, float], at: float) -> _Block:
        block = self._open.get(key)
        if block is not None and self._full(block, at):
            self._seal(block)
            block = None
        if block is None:
            block = self._open[key] = _Block(key, at, at)
        return block

    def _full(self, block: _Block, now: float) -> bool:
        age = now - block.opened
        return age >= self._span or (age >= self._pace and len(block.units) >= SMALLEST)

    def _seal(self, block: _Block) -> None:
        del self._open[block.key]
        self._sealed.append(block)

    def _hand_over(self, block: _Block) -> Observed:
        arms: tuple[list[tuple[Result, ...]], list[tuple[Result, ...]]] = ([], [])
        late = self._unfinished
        for key, unit in block.units.items():
            arms[unit.candidate].append(tuple([late if result is None else result for result in unit.results.values()]))
            del self._units[key]
            for request, result in unit.results.items():
                if result is None:
                    del self._running[request]
        return Observed(tuple(arms[0]), tuple(arms[1]), block.key[0])
