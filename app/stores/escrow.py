"""Escrow: a worker holds slices of large budgets and limits, and serves most requests from them without asking Redis.

A slice is a reservation of the worker itself (see budgets.lua `draw`): at most limit / (50 × workers), none when less
than a tenth of the limit is left. A claim is taken from slices of *all* its allowances or not at all. A slice is used
for `slice_seconds` only, then settled at what was spent of it; a worker that dies leaves it to its lease, which
settles it at its bound. So what crashed workers strand in a budget is at most a fiftieth of its limit at a time.

Nothing here waits or talks to anyone: the store asks what to draw and what to settle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from app.metering import Allowances, Budget, Charge, Claim, Limit, Measure, Unit, Window

SHARE = 50
"""All workers' slices of one budget together are at most its limit divided by this."""


class Row:
    """One allowance in its current window, as the script knows it.

    `kind` and `takes` are explained there; `key` is its counter's, without the epoch.
    """

    __slots__ = ("allowance", "end", "key", "kind", "limit", "start", "takes")

    def __init__(self, allowance: Budget | Limit, now: float) -> None:
        self.allowance = allowance
        self.limit = allowance.limit
        if isinstance(allowance, Budget):
            self.kind, self.takes = "w", "t" if allowance.unit is Unit.TOKENS else "m"
            self.start, self.end = allowance.window.span(now)
            self.key = f"{allowance.name}:{self.start}"
        else:
            self.kind = "g" if allowance.measure is Measure.CONCURRENT else "b"
            self.takes = "t" if allowance.measure is Measure.TOKENS else "o"
            self.start, self.end = Window.TOTAL.span(now)
            self.key = allowance.name

    def need(self, amount: Charge) -> int:
        """What an amount takes of it."""
        takes = self.takes
        return amount.tokens if takes == "t" else amount.nano_usd if takes == "m" else 1


def rows(allowances: Allowances, now: float) -> list[Row]:
    """The rows of a set of allowances in the windows that contain `now`, in its order."""
    found = [Row(one, now) for one in allowances.budgets]
    return found + [Row(one, now) for one in allowances.limits]


class Slice:
    """A part of one counter. New claims may be taken until `until`, and sent before `send_by` (monotonic seconds)."""

    __slots__ = ("amount", "claims", "epoch", "held", "id", "row", "send_by", "spent", "until")

    def __init__(self, slice_id: str, row: Row, epoch: str, drawn_at: float, seconds: float) -> None:
        self.id = slice_id
        self.row = row
        self.epoch = epoch
        self.until = drawn_at + seconds * 9 / 10
        self.send_by = drawn_at + seconds
        self.amount = self.held = self.spent = self.claims = 0

    def useful(self, epoch: str, now: float) -> bool:
        """Whether new claims may still be taken, and much is left for them."""
        free = self.amount - self.held - self.spent
        return self.epoch == epoch and now < self.until and free * 4 > self.amount


_Local = list[tuple[Slice, int]]


class Escrow:
    """This worker's slices.

    `workers` is how many workers share the store; `name` is this worker's, never used by another or again.
    """

    def __init__(self, name: str, workers: int, slice_seconds: float) -> None:
        self._name = name
        self._parts = SHARE * workers
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
        amount, parts = claim.amount, self._parts
        for row in wanted:
            if row.need(amount) * parts > row.limit:
                return None
        found: _Local = []
        for row in wanted:
            need = row.need(amount)
            one = self._with_room(row, need, epoch, now)
            if one is not None:
                found.append((one, need))
        if len(found) < len(wanted):
            return None
        send_by = now + self._seconds
        for one, need in found:
            one.held += need
            one.claims += 1
            if one.send_by < send_by:  # noqa: PLR1730 # min() takes 0.15 µs
                send_by = one.send_by
        self._open[claim.id] = found
        return send_by

    def rows_of(self, claim_id: str) -> list[Row]:
        """The rows that a reservation was taken from, in the windows of then."""
        return [one.row for one, _ in self._open[claim_id]]

    def settle(self, claim_id: str, charge: Charge, epoch: str, now: float) -> bool:
        """End a reservation that was taken from slices.

        False where Redis has to hear of it too: the slices are of an epoch that is gone, or so old that somebody may
        have rebuilt the state without this worker's knowing, with the reservation in it.
        """
        current = True
        for one, need in self._open.pop(claim_id):
            one.held -= need
            one.claims -= 1
            if one.row.kind != "g":
                one.spent += one.row.need(charge)
            current = current and one.epoch == epoch and now < one.send_by
        return current

    def draws(self, epoch: str, now: float) -> list[tuple[Slice, int]]:
        """The slices to ask for, with how much of each."""
        asked = []
        for row in self._wanted.values():
            want = self._cap(row) - sum(one.amount - one.spent for one in self._slices.get(row.key, ()))
            if want > 0:
                self._drawn += 1
                name = f"{self._name}/{self._drawn}"
                asked.append((Slice(name, row, epoch, now, self._seconds), want))
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

    def idle(self, wanted: list[Row], epoch: str) -> Iterator[tuple[str, Charge]]:
        """As `ended`, of some counters only, but however much is left: somebody was refused for the want of it."""
        return self.ended(epoch, float("inf"), {row.key for row in wanted})

    def ended(self, epoch: str, now: float, keys: Collection[str] | None = None) -> Iterator[tuple[str, Charge]]:
        """Slices that nobody uses any more, with what was spent of them; they are forgotten here."""
        for key in list(self._slices) if keys is None else self._slices.keys() & keys:
            several = self._slices[key]
            done = [one for one in several if not one.claims and not one.useful(epoch, now)]
            keep = [one for one in several if one not in done]
            if keep:
                self._slices[key] = keep
            else:
                del self._slices[key]
            yield from ((one.id, Charge(one.spent, 0)) for one in done if one.epoch == epoch)

    def _cap(self, row: Row) -> int:
        return row.limit // self._parts

    def _with_room(self, row: Row, need: int, epoch: str, now: float) -> Slice | None:
        free = 0
        found = None
        for one in self._slices.get(row.key, ()):
            # The window is in the key. A changed limit is a new row: what was drawn under the old one is not used.
            if one.row.limit == row.limit and now < one.until and one.epoch == epoch:
                room = one.amount - one.held - one.spent
                free += room
                if room >= need:
                    found = one
        if (found is None or free * self._parts * 2 < row.limit) and self._starved.get(row.key, 0.0) <= now:
            self._wanted[row.key] = row
        return found
