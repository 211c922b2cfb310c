"""Calls that a real Redis answers, and what they are counted to cost."""

from __future__ import annotations

from app.metering import Charge, Claim
from loadtests.service import BOUND, SPENT, Bench, budgets, workers
from tests.support.redis import Redis


async def test_every_kind_of_call_costs_something() -> None:
    """Those that name more cost no less."""
    with Redis() as server:
        async with workers(server, 2, 1) as crew:
            found = await Bench(server, crew, 400).measure()
    for cost in (
        found.reserve,
        found.settle,
        found.ended,
        found.draw,
        found.renew,
        found.levels,
        found.reap,
        found.poll,
    ):
        assert cost.of(100) >= cost.of(1) >= 0
        assert cost.of(100) > 0


async def test_workers_share_what_they_count() -> None:
    """What one reserved, another's budget lacks."""
    allowances = budgets(1, BOUND * SPENT)
    amount = Charge(BOUND * SPENT, 0)
    with Redis() as server:
        async with workers(server, 2, 1) as (one, other):
            assert (await one.store.reserve(Claim("a", allowances, amount, sent=True))).refused is None
            assert (await other.store.reserve(Claim("b", allowances, amount, sent=True))).refused == 0
