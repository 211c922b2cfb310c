"""Gates: which results are bad, which say nothing, and the slow threshold that no block sets for itself."""

from __future__ import annotations

from random import Random

import pytest

from app.control.evariable import Counts
from app.control.gates import Limit, Observed, judge, limits_of, tally
from app.control.policy import Bad, Gate
from app.exchange import Result

FIRST = Gate(Bad.SLOW_FIRST_TOKEN, seconds=2.0)
TOTAL = Gate(Bad.SLOW_TOTAL, seconds=2.0)
QUALITY = Gate(Bad.LOW_QUALITY, below=0.5)
COST = Gate(Bad.COST, over_usd=0.01)


@pytest.mark.parametrize(
    ("gate", "result", "bad"),
    [
        (Gate(Bad.ERROR), Result(), False),
        (Gate(Bad.ERROR), Result(error=True), True),
        (COST, Result(cost_usd=0.01), False),
        (COST, Result(cost_usd=0.011, error=True), True),
        (FIRST, Result(streamed=True, first_token_s=2.0), False),
        (FIRST, Result(streamed=True, first_token_s=2.1), True),
        (FIRST, Result(first_token_s=9.0), None),
        (FIRST, Result(streamed=True, error=True, total_s=0.1), None),
        (FIRST, Result(streamed=True, error=True, total_s=30.0), True),
        (TOTAL, Result(total_s=2.1), True),
        (TOTAL, Result(total_s=1.9), False),
        (TOTAL, Result(total_s=1.9, left=True), None),
        (TOTAL, Result(total_s=2.1, left=True), True),
        (Gate(Bad.ERROR), Result(error=True, void=True), None),
        (COST, Result(cost_usd=1.0, void=True), None),
        (TOTAL, Result(total_s=0.1, error=True), None),
        (TOTAL, Result(total_s=30.0, error=True), True),
        (Gate(Bad.HARM), Result(harm=True), True),
        (Gate(Bad.HARM), Result(error=True), None),
        (Gate(Bad.REFUSAL), Result(refused=True), True),
        (Gate(Bad.TRUNCATED), Result(truncated=True), True),
        (Gate(Bad.BAD_FORMAT), Result(format_ok=False), True),
        (Gate(Bad.BAD_FORMAT), Result(format_ok=True), False),
        (Gate(Bad.BAD_FORMAT), Result(), None),
        (QUALITY, Result(score=0.4), True),
        (QUALITY, Result(score=0.5), False),
        (QUALITY, Result(), None),
    ],
)
def test_results_are_judged(gate: Gate, result: Result, bad: bool | None) -> None:  # noqa: FBT001 - a table's column
    """Bad, good, or not a word on it: each kind of gate."""
    assert judge(gate, gate.seconds, result) is bad


def test_units_are_counted_once() -> None:
    """Three requests of one user, one of them bad, are one bad unit; a unit to which nothing applies is none."""
    good, bad = Result(format_ok=True), Result(format_ok=False)
    block = Observed(stable=((good, bad, good), (good,), (Result(),), ()), candidate=((bad,), (Result(error=True),)))
    gates = [Gate(Bad.BAD_FORMAT), Gate(Bad.ERROR)]
    assert tally(gates, limits_of(gates), block) == [Counts(2, 1, 1, 1), Counts(3, 0, 2, 1)]


def test_a_given_threshold_stays() -> None:
    """What is learned does not move it."""
    (limit,) = limits_of([TOTAL])
    assert limit is not None
    limit.learn([Result(total_s=100.0)] * 1000)
    assert limit.value == 2.0


def test_a_learned_threshold_is_stable_s_quantile() -> None:
    """None until enough was learned, then within 5 % of the quantile; failed requests do not count."""
    limit, random = Limit(Gate(Bad.SLOW_TOTAL, quantile=0.9)), Random(1)
    limit.learn([Result(total_s=1.0)] * (Limit.ENOUGH - 1))
    assert limit.value is None
    for _ in range(50):
        limit.learn([Result(total_s=random.uniform(1, 3)) for _ in range(1000)])
        limit.learn([Result(total_s=60.0, error=True)] * 1000)
    assert limit.value == pytest.approx(2.8, rel=0.06)


def test_a_threshold_goes_on_where_it_stood() -> None:
    """State and restore carry what was learned."""
    first, second = Limit(Gate(Bad.SLOW_FIRST_TOKEN, quantile=0.5)), Limit(Gate(Bad.SLOW_FIRST_TOKEN, quantile=0.5))
    first.learn([Result(first_token_s=seconds / 100) for seconds in range(400)])
    second.restore(first.state())
    assert second.value == first.value is not None
    assert second.state() == first.state()


def test_extreme_times_have_a_bucket() -> None:
    """Nothing, and more than an hour."""
    limit = Limit(Gate(Bad.SLOW_TOTAL, quantile=0.99))
    limit.learn([Result(total_s=0.0)] * 200 + [Result(total_s=1e9)] * 200)
    assert limit.value is not None
    assert limit.value > 3600


def test_without_a_threshold_nothing_is_slow() -> None:
    """The first blocks teach; they are not judged."""
    gates = [Gate(Bad.SLOW_TOTAL, quantile=0.9)]
    block = Observed(stable=((Result(total_s=1.0),),), candidate=((Result(total_s=99.0),),))
    assert tally(gates, limits_of(gates), block) == [Counts()]
