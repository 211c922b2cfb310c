"""The e-process of a gate: fair under the null by exact enumeration, quick under the alternative, robust in between."""

from __future__ import annotations

from itertools import product
from math import isfinite
from random import Random

import pytest

from app.control.evariable import Counts
from app.control.evidence import CEILING, Evidence


def fairness(block: tuple[int, int], rounds: int, rates: tuple[float, float], margin: float) -> float:
    """The expected capital after some rounds of equal blocks: every course of events, weighed by its probability."""
    n_s, n_c = block
    outcomes = list(product(*[(False, True)] * (n_s + n_c)))
    total = 0.0
    for course in product(outcomes, repeat=rounds):
        evidence, chance = Evidence(margin), 1.0
        for units in course:
            for index, bad in enumerate(units):
                rate = rates[index >= n_s]
                chance *= rate if bad else 1 - rate
            evidence.observe(Counts(n_s, sum(units[:n_s]), n_c, sum(units[n_s:])))
        total += chance * evidence.value
    return total


@pytest.mark.parametrize(
    ("rates", "margin"),
    [
        ((0.01, 0.01), 0.0),
        ((0.2, 0.2), 0.0),
        ((0.6, 0.6), 0.0),
        ((0.3, 0.1), 0.0),
        ((0.0, 0.05), 0.05),
        ((0.2, 0.25), 0.05),
        ((0.5, 0.55), 0.05),
    ],
)
def test_the_capital_does_not_grow_under_the_null(rates: tuple[float, float], margin: float) -> None:
    """Exactly, over all courses of five blocks of two units, bets depending on the past as they do."""
    assert fairness((1, 1), 5, rates, margin) <= 1 + 1e-9


def test_the_capital_does_not_grow_in_uneven_blocks() -> None:
    """Three stable units to one candidate."""
    assert fairness((3, 1), 3, (0.4, 0.4), 0.0) <= 1 + 1e-9


def test_the_capital_grows_when_the_candidate_is_worse() -> None:
    """The same sum under an alternative is above 1: the enumeration can tell them apart."""
    assert fairness((1, 1), 5, (0.05, 0.6), 0.0) > 1.5


def feed(evidence: Evidence, random: Random, blocks: int, stable: float, candidate: float) -> int:
    """Observe blocks of 18 + 2 units until the evidence reaches 20; how many it took, or `blocks`."""
    for block in range(blocks):
        if evidence.peak >= 20:
            return block
        k_s, k_c = (sum(random.random() < rate for _ in range(n)) for n, rate in ((18, stable), (2, candidate)))
        evidence.observe(Counts(18, k_s, 2, k_c))
    return blocks


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_few_false_alarms_on_the_border(margin: float) -> None:
    """At most 5 % of runs whose candidate is exactly as bad as is allowed; here fewer, for no run goes on for ever."""
    alarms = sum(feed(Evidence(margin), Random(seed), 150, 0.03, 0.03 + margin) < 150 for seed in range(300))
    assert alarms <= 15


def test_a_late_turn_is_seen() -> None:
    """A candidate that was good for 40 000 units and then fails every time is out within 12 of its requests."""
    random, evidence = Random(1), Evidence()
    assert feed(evidence, random, 2000, 0.01, 0.01) == 2000
    evidence.begin_step()
    assert feed(evidence, random, 50, 0.01, 1.0) <= 6


@pytest.mark.parametrize("weight", [1, 5, 10, 25])
def test_a_dead_candidate_is_out_within_12_of_its_requests(weight: int) -> None:
    """From the first second, in 9 of 10 runs, with the share of α that the default gates leave to errors."""
    exposed = []
    for seed in range(60):
        random, evidence, seen = Random(seed), Evidence(), 0
        while evidence.peak < 40:
            n_c = sum(random.random() * 100 < weight for _ in range(20))
            k_s = sum(random.random() < 0.01 for _ in range(20 - n_c))
            evidence.observe(Counts(20 - n_c, k_s, n_c, n_c))
            seen += n_c
        exposed.append(seen)
    assert sorted(exposed)[53] <= 12


def test_evidence_goes_on_where_it_stood() -> None:
    """State and restore carry everything over a restart, through JSON's kinds of value."""
    random = Random(3)
    first, second = Evidence(), Evidence()
    feed(first, random, 100, 0.05, 0.05)
    second.restore(list(map(float, first.state())))
    for evidence, source in ((first, Random(4)), (second, Random(4))):
        feed(evidence, source, 100, 0.05, 0.08)
    assert first.state() == second.state()


def test_an_arm_without_traffic_leaves_the_evidence_alone() -> None:
    """Stable's rate is still learned from such blocks."""
    evidence = Evidence()
    for _ in range(100):
        evidence.observe(Counts(20, 4, 0, 0))
        evidence.observe(Counts(0, 0, 20, 20))
    assert evidence.value == evidence.peak == 1
    evidence.observe(Counts(10, 2, 10, 2))
    assert 0.2 < evidence.value < 1.1


@pytest.mark.parametrize("margin", [0.0, 0.01])
@pytest.mark.parametrize(
    "counts",
    [
        Counts(10**6, 0, 10**6, 10**6),
        Counts(10**6, 10**6, 10**6, 0),
        Counts(10**6, 10**6, 10**6, 10**6),
        Counts(1, 0, 1, 1),
    ],
)
def test_extreme_blocks_overflow_nothing(counts: Counts, margin: float) -> None:
    """Huge blocks, all bad, none bad, again and again."""
    evidence = Evidence(margin)
    for _ in range(200):
        evidence.observe(counts)
    assert isfinite(evidence.value)
    assert 0 <= evidence.value <= evidence.peak <= CEILING


def test_worse_within_the_margin_is_no_alarm() -> None:
    """Two points worse with a margin of five stays quiet where a margin of zero would not."""
    assert feed(Evidence(0.05), Random(5), 2000, 0.02, 0.04) == 2000
    assert feed(Evidence(), Random(5), 2000, 0.02, 0.08) < 400
