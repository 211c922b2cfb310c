"""Escrow: a worker holds slices of large budgets and limits, and serves most requests from them without asking Redis.

A slice is a reservation of the worker itself (see budgets.lua `draw`): at most limit / (50 × workers), none when less than a
tenth of the limit is left. A claim is taken from slices of *all* its allowances or not at all. A slice is used for
`slice_seconds` only, then settled at what was spent of it; a worker that dies leaves it to its lease, which settles it at
its bound. So what crashed workers strand in a budget is at most a fiftieth of its limit at a time.

Nothing here waits or talks to anyone: the store asks what to draw and what to settle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.metering import Allowances, Budget, Charge, Claim, Limit, Measure, Unit, Window, taken

SHARE = 50
"""All workers' slices of one budget together are at most its limit divided by this."""


@dataclass(frozen=True, slots=True)
class Row:
    """One allowance in its current window, as the script knows it. `kind` and `takes` are explained there."""

    allowance: Budget | Limit
    kind: str
    takes: str
    start: int
    end: int

    @property
    def key(self) -> str:
        """Its counter, without the epoch."""
        return f"{self.allowance.name}:{self.start}" if self.kind == "w" else self.allowance.name


def rows(allowances: Allowances, now: float) -> list[Row]:
    """The rows of a set of allowances in the windows that contain `now`, in its order."""
    found = [
        Row(one, "w", "t" if one.unit is Unit.TOKENS else "m", *one.window.span(now)) for one in allowances.budgets
    ]
    for limit in allowances.limits:
        kind = "g" if limit.measure is Measure.CONCURRENT else "b"
        found.append(Row(limit, kind, "t" if limit.measure is Measure.TOKENS else "o", *Window.TOTAL.span(now)))
    return found


class Slice:
    """A part of one counter that this worker may spend until `until` (monotonic seconds)."""

    __slots__ = ("amount", "claims", "epoch", "held", "id", "row", "spent", "until")

    def __init__(self, slice_id: str, row: Row, epoch: str, until: float) -> None:
        self.id = slice_id
        self.row = row
        self.epoch = epoch
        self.until = until
        self.amount = self.held = self.spent = self.claims = 0

    @property
    def free(self) -> int:
        """What new claims may take."""
        return self.amount - self.held - self.spent


_Local = list[tuple[Slice, int]]


class Escrow:
    """This worker's slices.

    `workers` is how many workers share the store; `name` is this worker's, never used by another or again.
    """

    def __init__(self, name: str, workers: int, slice_seconds: float) -> None:
        self._name = name
        self._workers = workers
        self._seconds = slice_seconds
        self._slices: dict[str, list[Slice]] = {}
        self._open: dict[str, _Local] = {}
        self._wanted: dict[str, Row] = {}
        self._starved: dict[str, float] = {}  # counters that granted nothing, and when to ask again
        self._drawn = 0

    def __contains__(self, claim_id: str) -> bool:
        """Whether a reservation was taken from slices."""
        return claim_id in self._open

    @property
    def hungry(self) -> bool:
        """Whether there is something to draw."""
        return bool(self._wanted)

    def take(self, claim: Claim, wanted: list[Row], epoch: str, now: float) -> float | None:
        """Take a claim from slices; until when it may be sent, or None where they do not cover it."""
        if claim.id in self._open:
            return None
        needs = [taken(row.allowance, claim.amount) for row in wanted]
        if any(need > self._cap(row) for row, need in zip(wanted, needs, strict=True)):
            return None
        found: _Local = []
        for row, need in zip(wanted, needs, strict=True):
            one = self._with_room(row, need, epoch, now)
            if one is not None:
                found.append((one, need))
        if len(found) < len(wanted):
            return None
        for one, need in found:
            one.held += need
            one.claims += 1
        self._open[claim.id] = found
        return min((one.until for one, _ in found), default=now) + self._seconds / 10

    def settle(self, claim_id: str, charge: Charge, epoch: str) -> bool:
        """End a reservation that was taken from slices. False where the slices are of an epoch that is gone."""
        parts = self._open.pop(claim_id)
        for one, need in parts:
            one.held -= need
            one.claims -= 1
            spent = taken(one.row.allowance, charge)
            one.spent += 0 if one.row.kind == "g" else spent
        return all(one.epoch == epoch for one, _ in parts)

    def draws(self, epoch: str, now: float) -> list[tuple[Slice, int]]:
        """The slices to ask for, with how much of each."""
        asked = []
        for row in self._wanted.values():
            want = self._cap(row) - sum(one.amount - one.spent for one in self._slices.get(row.key, ()))
            if want > 0:
                self._drawn += 1
                name = f"{self._name}/{self._drawn}"
                asked.append((Slice(name, row, epoch, now + self._seconds * 9 / 10), want))
        self._wanted.clear()
        return asked

    def drawn(self, one: Slice, got: int, now: float) -> None:
        """Keep a slice that was granted, or ask for none for a while where nothing was."""
        if got > 0:
            one.amount = got
            self._slices.setdefault(one.row.key, []).append(one)
        else:
            self._starved = {key: until for key, until in self._starved.items() if until > now}
            self._starved[one.row.key] = now + self._seconds / 10

    def ended(self, epoch: str, now: float) -> Iterator[tuple[str, Charge]]:
        """Slices that nobody uses any more, with what was spent of them; they are forgotten here."""
        for key, several in list(self._slices.items()):
            done = [one for one in several if not one.claims and not (usable(one, epoch, now) and one.free * 4 > one.amount)]
            keep = [one for one in several if one not in done]
            if keep:
                self._slices[key] = keep
            else:
                del self._slices[key]
            yield from ((one.id, Charge(one.spent, 0)) for one in done if one.epoch == epoch)

    def _cap(self, row: Row) -> int:
        return row.allowance.limit // (SHARE * self._workers)

    def _with_room(self, row: Row, need: int, epoch: str, now: float) -> Slice | None:
        several = self._slices.get(row.key, ())
        free = 0
        found = None
        for one in several:
            if usable(one, epoch, now) and one.row.allowance.limit == row.allowance.limit:
                free += one.free
                if one.free >= need:
                    found = one
        if (found is None or free * 2 < self._cap(row)) and self._starved.get(row.key, 0.0) <= now:
            self._wanted[row.key] = row
        return found


def usable(one: Slice, epoch: str, now: float) -> bool:
    """Whether new claims may still be taken from a slice. Its window is in its counter's key."""
    return one.epoch == epoch and now < one.until
