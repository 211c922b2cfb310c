"""Invented traffic has the rates, arms and delays that it was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from app.control.evariable import Counts
from app.control.traffic import Crowd, Independent, Lifelike, Rates


def total(blocks: Iterable[Counts]) -> Counts:
    """Blocks added up."""
    return Counts(*map(sum, zip(*blocks, strict=True)))


@pytest.mark.parametrize("size", [20, 1000])
def test_independent_requests_have_their_rates(size: int) -> None:
    """Arms by weight, bad ones by rate, for each gate by itself; large draws and small ones."""
    traffic = Independent(Random(1), [Rates(0.1, 0.3), Rates(0.5, 0.5)])
    batches = [traffic.send(size, 25.0, 0) for _ in range(100_000 // size)]
    first = total(batch.requests for batch in batches)
    second = total(block[1] for batch in batches for block in batch.blocks)
    assert first.candidate / 100_000 == pytest.approx(0.25, abs=0.006)
    assert first.stable_bad / first.stable == pytest.approx(0.1, abs=0.005)
    assert first.candidate_bad / first.candidate == pytest.approx(0.3, abs=0.012)
    assert second.candidate_bad / second.candidate == pytest.approx(0.5, abs=0.013)
    assert total(block[0] for batch in batches for block in batch.blocks) == first


@pytest.mark.parametrize(("weight", "rate"), [(0.0, 0.0), (100.0, 1.0)])
def test_nothing_and_everything(weight: float, rate: float) -> None:
    """The ends of the scales are exact."""
    requests = Independent(Random(1), [Rates(rate, rate)]).send(20, weight, 0).requests
    assert requests == (Counts(20, 0, 0, 0) if not weight else Counts(0, 0, 20, 20))


def test_a_candidate_may_turn_bad_at_a_weight() -> None:
    """Below it, it is like stable."""
    for traffic in (
        Independent(Random(1), [Rates(0.0, 1.0)], bad_from=25.0),
        Lifelike(Random(1), Rates(0.0, 1.0), rps=10.0, late_s=0.0, crowd=None, bad_from=25.0),
    ):
        before, after = traffic.send(400, 10.0, 0).requests, traffic.send(400, 25.0, 1).requests
        assert before.candidate > before.candidate_bad == 0
        assert after.candidate == after.candidate_bad > 0


def test_late_results_come_late_and_all() -> None:
    """Every request is observed once, in blocks that close after their results are in."""
    traffic = Lifelike(Random(1), Rates(0.5, 0.5), rps=10.0, late_s=30.0, crowd=None)
    early = traffic.send(200, 50.0, 0)
    assert early.blocks == []
    rest = [traffic.send(200, 50.0, 0) for _ in range(50)]
    seen = total(block[0] for batch in rest for block in batch.blocks)
    assert 9000 < seen.stable + seen.candidate < 10_200
    assert (seen.stable_bad + seen.candidate_bad) / (seen.stable + seen.candidate) == pytest.approx(0.5, abs=0.02)


def test_sticky_users_are_observed_once() -> None:
    """There are as many observations as users, whatever their traffic; counted by request there are far more."""
    units, requests = (
        Lifelike(Random(1), Rates(0.02, 0.02), rps=10.0, late_s=1.0, crowd=Crowd(users=300, per_request=wrong))
        for wrong in (False, True)
    )
    once, often = (
        total(block[0] for _ in range(40) for block in traffic.send(250, 50.0, 0).blocks)
        for traffic in (units, requests)
    )
    assert 250 <= once.stable + once.candidate <= 300
    assert often.stable + often.candidate > 9000


def test_users_differ_in_their_rates() -> None:
    """Beta(0.1, 4.9): most users never see a bad answer, and the mean is kept."""
    traffic = Lifelike(Random(1), Rates(0.02, 0.02), rps=10.0, late_s=1.0, crowd=Crowd(users=10_000, zipf=0.0))
    traffic.send(10_000, 50.0, 0)
    rates = [rate for rate, _ in traffic._people.values()]
    assert sum(rates) / len(rates) == pytest.approx(0.02, abs=0.003)
    assert sum(rate < 0.001 for rate in rates) > len(rates) / 2
