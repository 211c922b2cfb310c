"""From the results of requests to the counts that are tested: what is bad, gate by gate, one observation per unit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.control.evariable import Counts
from app.control.policy import Bad, Gate
from app.exchange import Result


@dataclass(frozen=True, slots=True)
class Observed:
    """One closed block: for every unit the results of its observed requests, and the epoch of all of them."""

    stable: tuple[tuple[Result, ...], ...]
    candidate: tuple[tuple[Result, ...], ...]
    epoch: int = 0


class Limit:
    """The threshold of a slow gate: given, or the quantile of what stable took in earlier blocks.

    `value` is None until `ENOUGH` results of stable were learned: until then the gate observes nothing. A block is
    judged by the value that stood before it, never by its own results; so under the null both arms exceed it equally
    often.
    """

    ENOUGH = 200
    MEMORY = 20_000
    _EDGES = tuple(0.001 * 1.05**step for step in range(320))  # 1 ms to 1.6 h, 5 % apart

    def __init__(self, gate: Gate) -> None:
        self._first = gate.kind is Bad.SLOW_FIRST_TOKEN
        self._quantile = gate.quantile
        self._buckets = [0.0] * (len(self._EDGES) + 1)
        self.value = gate.seconds

    def learn(self, results: Iterable[Result]) -> None:
        """Take stable's results of a block that has been judged."""
        if self._quantile is None:
            return
        for result in results:
            ended = not (result.error or result.left or result.void)
            seconds = result.first_token_s if self._first else result.total_s if ended else None
            if seconds is not None:
                self._buckets[bisect_right(self._EDGES, seconds)] += 1
        total = sum(self._buckets)
        if total >= self.ENOUGH:
            self.value = self._at(total * self._quantile)
        if total > 2 * self.MEMORY:
            self._buckets = [count / 2 for count in self._buckets]

    def state(self) -> list[float]:
        """Everything that `restore` needs: the buckets that hold anything, as pairs of number and count."""
        return [part for number, count in enumerate(self._buckets) if count for part in (float(number), count)]

    def restore(self, state: list[float]) -> None:
        """Continue where the limit that gave this state stood."""
        for number, count in zip(state[::2], state[1::2], strict=True):
            self._buckets[int(number)] = count
        self.learn(())

    def _at(self, rank: float) -> float:
        bucket = bisect_right(list(accumulate(self._buckets)), rank)
        return self._EDGES[min(bucket, len(self._EDGES) - 1)]


def judge(gate: Gate, limit: float | None, result: Result) -> bool | None:
    """Whether the request was bad in the gate's sense; None where the gate does not apply to it.

    A request that failed says nothing about harm, refusals, format or quality; about slowness only if it had already
    waited too long.
    """
    if result.void:
        return None
    match gate.kind:
        case Bad.ERROR:
            return result.error
        case Bad.COST:
            return gate.over_usd is not None and result.cost_usd > gate.over_usd
        case Bad.SLOW_FIRST_TOKEN:
            return _slow(limit, result, result.first_token_s) if result.streamed else None
        case Bad.SLOW_TOTAL:
            return _slow(limit, result, None if result.error or result.left else result.total_s)
        case _:
            return None if result.error else _answer(gate, result)


def tally(gates: Sequence[Gate], limits: Sequence[Limit | None], block: Observed) -> list[Counts]:
    """A block's counts per gate: a unit is bad if any of its observed requests was, and counts if any applied."""
    counts = []
    for gate, limit in zip(gates, limits, strict=True):
        value = limit.value if limit else None
        arms = ([_unit(gate, value, unit) for unit in arm] for arm in (block.stable, block.candidate))
        stable, candidate = ([bad for bad in arm if bad is not None] for arm in arms)
        counts.append(Counts(len(stable), sum(stable), len(candidate), sum(candidate)))
    return counts


def limits_of(gates: Sequence[Gate]) -> list[Limit | None]:
    """One limit per slow gate, None for the others."""
    return [Limit(gate) if gate.kind in (Bad.SLOW_FIRST_TOKEN, Bad.SLOW_TOTAL) else None for gate in gates]


def _unit(gate: Gate, limit: float | None, results: Iterable[Result]) -> bool | None:
    unit = None
    for result in results:
        bad = judge(gate, limit, result)
        if bad:
            return True
        if bad is not None:
            unit = bad
    return unit


def _slow(limit: float | None, result: Result, seconds: float | None) -> bool | None:
    if limit is None:
        return None
    if seconds is None:  # it ended before there was anything to time
        return True if result.total_s > limit else None
    return seconds > limit


def _answer(gate: Gate, result: Result) -> bool | None:
    match gate.kind:
        case Bad.HARM:
            return result.harm
        case Bad.REFUSAL:
            return result.refused
        case Bad.TRUNCATED:
            return result.truncated
        case Bad.BAD_FORMAT:
            return None if result.format_ok is None else not result.format_ok
        case _:
            return None if result.score is None or gate.below is None else result.score < gate.below
