"""Budgets and limits in Redis or Valkey, for many workers and hosts: one script call per operation, or none.

A claim is served from this worker's slices where they cover it (no round trip), else by the script (one). Settlements
are put into an outbox and sent together by the background task, again and again until they are acknowledged: all
operations are safe to repeat. What is never acknowledged ends by its lease, at its bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from app.metering import (
    NOTHING,
    Allowances,
    Budget,
    Charge,
    Claim,
    Level,
    Measure,
    OnFailure,
    Verdict,
    Window,
    refused,
)
from app.pipeline.reservation import StoreUnavailable
from app.stores.escrow import Escrow, Row, rows
from app.stores.resp import Unanswered, encode

SCRIPT = files("app.stores").joinpath("budgets.lua").read_text(encoding="utf-8")

CLOSED, GONE, ELSEWHEN, REFUSED, DONE = -1, -2, -3, 0, 1
"""The script's answers."""

OUTBOX = 100_000
"""Settlements that wait for Redis at most; beyond it the oldest are left to their lease, which ends at their bound."""

_BATCH = 100
_RENEWED = 1000
_TURN_S = 1.0
_RETRY_S = 0.05
_COMPILED = 100_000


class Script(Protocol):
    """Where the script runs (`line.Line`)."""

    epoch: str

    @property
    def up(self) -> bool:
        """Whether a request may be admitted."""
        ...

    async def run(self, count: int, encoded: bytes) -> list[int]:
        """Run the script with `count` encoded arguments. Raises Unanswered."""
        ...

    async def texts(self, count: int, encoded: bytes) -> list[str]:
        """The same where the reply holds names; numbers come as text."""
        ...


@dataclass(slots=True)
class _Compiled:
    """A set of allowances in the windows of now: its rows, and the same as arguments of the script."""

    rows: list[Row]
    encoded: bytes
    since: float
    until: float
    limits: list[str]  # the counters of the limits


class RedisStore:
    """Implements `reserve.Store` over a shared Redis. Run `work` in a background task.

    `name` names this worker's life: no other, earlier or later one has it. `workers` is how many share the store.
    `lease` is in seconds and longer than any request; what holds a place among concurrent requests, and what is not
    sent, has a lease of `short_lease`, renewed as long as this worker lives. `slice_seconds` is how long a slice is
    used, how long a reservation may wait to be sent, and how long a rebuild must wait before it reads the ledger.
    """

    def __init__(
        self,
        line: Script,
        *,
        name: str,
        workers: int,
        lease: float = 900.0,
        short_lease: float = 30.0,
        slice_seconds: float = 10.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._line = line
        self._escrow = Escrow(name, workers, slice_seconds)
        self._workers = b"%d" % workers
        self._lease = b"%g" % lease
        self._short_lease = short_lease
        self._slice_seconds = slice_seconds
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = 0.0  # how far Redis' clock is ahead of ours, as far as it matters
        self._compiled: dict[Allowances, _Compiled] = {}
        self._direct: dict[str, bool] = {}  # what Redis holds for this worker, and whether its lease is the long one
        self._left: dict[str, int] = {}  # of each limit, as last heard
        self._outbox: dict[str, Charge] = {}
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Settlements that Redis has not acknowledged yet."""
        return len(self._outbox)

    def at_once(self, claim: Claim) -> Verdict | None:
        """Take the claim from slices that this worker holds; None where they do not cover it."""
        if claim.id in self._direct or not (claim.on_failure is OnFailure.LOCAL_SLICE or self._line.up):
            return None
        compiled = self._rows(claim.allowances)
        send_by = self._escrow.take(claim, compiled.rows, self._line.epoch, self._monotonic())
        if self._escrow.hungry:
            self._wake.set()
        if send_by is None:
            return None
        known = self._left
        return Verdict(None, tuple([known.get(name, 0) for name in compiled.limits]), None, send_by)

    async def reserve(self, claim: Claim) -> Verdict:
        """Take the claim from all its allowances or from none."""
        now, up = self._monotonic(), self._line.up
        if (verdict := self.at_once(claim)) is not None:
            return verdict
        if not up:
            raise StoreUnavailable("the limit store is not reachable, or closed until its state is rebuilt")
        try:
            return await self._ask(claim, self._rows(claim.allowances), now)
        except (Unanswered, asyncio.CancelledError) as error:
            if claim.id not in self._direct and not (isinstance(error, Unanswered) and not error.asked):
                self._post(claim.id, NOTHING)  # it may have been taken, or will be; what a slice holds stays there
            raise

    def settle(self, claim_id: str, charge: Charge) -> None:
        """End a reservation: what is beyond `charge` goes back as soon as Redis hears of it."""
        escrow = self._escrow
        if claim_id in escrow and escrow.settle(claim_id, charge, self._line.epoch, self._monotonic()):
            return
        self._direct.pop(claim_id, None)
        self._post(claim_id, charge)

    async def levels(self, allowances: Allowances) -> list[Level]:
        """How full the budgets are, slices counted as reserved."""
        budgets = [row for row in rows(allowances, self._now()) if row.kind == "w"]
        keys = [row.key.encode() for row in budgets]
        reply = await self._run(b"levels", b"%d" % len(keys), *keys)
        if reply[0] != DONE:
            raise StoreUnavailable("the limit store is closed until its state is rebuilt")
        found = iter(reply[1:])
        levels = zip(budgets, found, found, found, strict=True)
        return [Level(row.allowance, *of) for row, *of in levels if isinstance(row.allowance, Budget)]

    # --- in the background ---------------------------------------------------------------------------

    async def work(self) -> None:
        """Send settlements, draw slices, end leases. Ends by being cancelled."""
        reap_at = renew_at = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TURN_S):  # wait_for() of Python 3.11 can swallow a cancellation
                    await self._wake.wait()
            self._wake.clear()
            answered = False
            with suppress(Unanswered):
                await self.flush()
                await self.refill()
                if self._monotonic() >= reap_at:
                    reap_at = self._monotonic() + _TURN_S
                    await self.reap()
                if self._monotonic() >= renew_at:
                    renew_at = self._monotonic() + self._short_lease / 3
                    await self.renew()
                answered = True
            if not answered:
                await asyncio.sleep(_RETRY_S)

    async def flush(self) -> None:
        """Send what the outbox holds now. Raises Unanswered; nothing is lost then."""
        waiting = list(self._outbox.items()) if self._line.epoch else []
        for at in range(0, len(waiting), _BATCH):
            batch = waiting[at : at + _BATCH]
            parts = [
                part for one, spent in batch for part in (one.encode(), b"%d" % spent.tokens, b"%d" % spent.nano_usd)
            ]
            reply = await self._run(b"settle", b"%d" % len(batch), *parts)
            if reply[0] != DONE:
                return
            for one, spent in batch:
                if self._outbox.get(one) is spent:
                    del self._outbox[one]

    async def refill(self) -> None:
        """Draw the slices that claims would have liked, and give back those that are used up or old."""
        now = self._monotonic()
        if self._give_up(now) and self._escrow.hungry:
            await self.flush()  # or what comes back now would be missing from what is drawn
        asked = self._escrow.draws(self._line.epoch, now) if self._line.up else []
        if not asked:
            return
        parts = [self._workers, self._lease, b"%d" % len(asked)]
        for one, want in asked:
            row = one.row
            kind, numbers = "e" if row.kind == "w" else row.kind, (row.allowance.limit, want, row.start, row.end)
            parts += [
                one.id.encode(),
                kind.encode(),
                row.allowance.name.encode(),
                *[b"%d" % number for number in numbers],
            ]
        try:
            reply = await self._run(b"draw", *parts)
        except Unanswered:
            for one, _ in asked:
                self._post(one.id, NOTHING)  # drawn or not: never used
            raise
        if reply[0] == DONE:
            for (one, _), got, left in zip(asked, reply[1::2], reply[2::2], strict=True):
                self._escrow.drawn(one, got, now)
                if one.row.kind != "w":
                    self._left[one.row.key] = left - got

    async def renew(self) -> None:
        """Begin the short leases again."""
        held = [claim_id.encode() for claim_id, long in self._direct.items() if not long]
        for at in range(0, len(held), _RENEWED):
            batch = held[at : at + _RENEWED]
            await self._run(b"renew", b"%g" % self._short_lease, b"%d" % len(batch), *batch)

    async def give_back(self) -> None:
        """Before this worker ends: give its slices back and settle what it can. Raises Unanswered."""
        self._give_up(float("inf"))
        await self.flush()

    async def reap(self) -> int:
        """End leases that are over; how many were ended."""
        reply = await self._run(b"reap", b"%d" % _BATCH) if self._line.epoch else [DONE, 0]
        return reply[1] if reply[0] == DONE else 0

    # --- inside ----------------------------------------------------------------------------------------

    async def _ask(self, claim: Claim, compiled: _Compiled, asked: float) -> Verdict:
        reply = await self._reserve(claim, compiled)
        if reply[0] == ELSEWHEN:
            self._ahead = reply[1] + reply[2] / 1e6 - self._wall()
            compiled = self._rows(claim.allowances)
            reply = await self._reserve(claim, compiled)
        if reply[0] == REFUSED and self._give_way(compiled.rows):
            await self.flush()
            reply = await self._reserve(claim, compiled)
        limits = len(claim.allowances.budgets) + 1
        if reply[0] == DONE:
            if claim.id in self._escrow:
                # Raised: it is held in Redis as a whole now.
                self._escrow.settle(claim.id, NOTHING, self._line.epoch, asked)
            self._direct[claim.id] = self._long(claim)
            self._left.update(zip(compiled.limits, reply[limits:], strict=True))
            return Verdict(None, tuple(reply[limits:]), None, asked + self._slice_seconds)
        if reply[0] == REFUSED:
            return refused(claim.allowances, claim.amount, reply[1:], self._now())
        raise StoreUnavailable("the limit store is closed until its state is rebuilt, or has ended this reservation")

    def _give_up(self, now: float) -> bool:
        """Post the slices that are used up or old; whether there were any."""
        ended = list(self._escrow.ended(self._line.epoch, now))
        for slice_id, spent in ended:
            self._post(slice_id, spent)
        return bool(ended)

    def _give_way(self, refused_rows: list[Row]) -> bool:
        """Whether something that this worker holds would make room: settlements under way, slices that lie idle."""
        for slice_id, spent in self._escrow.idle(refused_rows, self._line.epoch):
            self._post(slice_id, spent)
        return bool(self._outbox)

    async def _reserve(self, claim: Claim, compiled: _Compiled) -> list[int]:
        operation, encoded = b"reserve", compiled.encoded
        if (
            claim.id in self._escrow
        ):  # raised beyond a slice: all of it moves to Redis, in the window where it was taken
            operation, encoded = b"move", encode_rows(self._escrow.rows_of(claim.id))
        encoded += self.encode_claim(claim)
        return await self._line.run(*reservation(operation, self._line.epoch, claim.allowances, encoded))

    def _post(self, claim_id: str, charge: Charge) -> None:
        if len(self._outbox) >= OUTBOX:
            del self._outbox[next(iter(self._outbox))]
            self.dropped += 1
        self._outbox[claim_id] = charge
        self._wake.set()

    def _now(self) -> float:
        return self._wall() + self._ahead

    def _rows(self, allowances: Allowances) -> _Compiled:
        found = self._compiled.get(allowances)
        now = self._now()
        if found is None or not found.since <= now < found.until:
            if len(self._compiled) >= _COMPILED:
                self._compiled.clear()
            several = rows(allowances, now)
            since = max((row.start for row in several), default=0)
            until = min((row.end for row in several), default=Window.TOTAL.span(now)[1])
            limits = [row.key for row in several if row.kind != "w"]
            found = self._compiled[allowances] = _Compiled(several, encode_rows(several), since, until, limits)
        return found

    def encode_claim(self, claim: Claim) -> bytes:
        """What follows the rows of a reservation, its lease chosen by what it holds."""
        amount = claim.amount
        lease = self._lease if self._long(claim) else b"%g" % self._short_lease
        numbers = (b"%d" % claim.sent, lease, b"%d" % amount.tokens, b"%d" % amount.nano_usd)
        return encode((claim.id.encode(), *numbers))

    @staticmethod
    def _long(claim: Claim) -> bool:
        """Whether its lease is the long one. Places are not: a worker that dies frees them soon."""
        limits = claim.allowances.limits  # places come first
        return claim.sent and not (limits and limits[0].measure is Measure.CONCURRENT)

    async def _run(self, operation: bytes, *parts: bytes) -> list[int]:
        return await self._line.run(*arguments(operation, self._line.epoch, *parts))


def arguments(operation: bytes, epoch: str, *parts: bytes) -> tuple[int, bytes]:
    """What the script is called with: the number of its arguments, and the arguments."""
    every = (operation, epoch.encode(), *parts)
    return len(every), encode(every)


def reservation(operation: bytes, epoch: str, allowances: Allowances, encoded: bytes) -> tuple[int, bytes]:
    """The same where rows and a claim follow, which are encoded already."""
    return 8 + 6 * len(allowances), encode((operation, epoch.encode())) + encoded


def encode_rows(several: list[Row]) -> bytes:
    """The rows as arguments of the script, their number first."""
    parts = [b"%d" % len(several)]
    for row in several:
        names = (row.kind, row.takes, row.allowance.name)
        parts += [part.encode() for part in names]
        parts += [b"%d" % number for number in (row.allowance.limit, row.start, row.end)]
    return encode(parts)
