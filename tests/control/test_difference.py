"""The confidence sequence: fair on both borders by enumeration, covers the truth, shrinks, and proves a margin."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from app.control.difference import GRID, Difference
from app.control.evariable import Counts


def draws(random: Random, stable: float, candidate: float) -> Counts:
    """A block of 10 + 10 units."""
    k_s, k_c = (sum(random.random() < rate for _ in range(10)) for rate in (stable, candidate))
    return Counts(10, k_s, 10, k_c)


@pytest.mark.parametrize("d", [-0.2, 0.0, 0.05, 0.5])
@pytest.mark.parametrize("stable", [0.25, 0.45])
def test_neither_side_gains_on_the_border(d: float, stable: float) -> None:
    """With a difference of exactly d, evidence against "at most d" and "at least d" is at most 1 on average."""
    below = above = 0.0
    for course in product(product((0, 1), repeat=2), repeat=5):
        sequence, chance = Difference(d, ()), 1.0
        for bad_s, bad_c in course:
            chance *= (stable if bad_s else 1 - stable) * (stable + d if bad_c else 1 - stable - d)
            sequence.observe(Counts(1, bad_s, 1, bad_c))
        _, under, over = sequence.state()
        below += chance * sum(under[:2])
        above += chance * sum(over[:2])
    assert max(below, above) <= 1 + 1e-9


def test_the_interval_covers_the_truth_at_every_look() -> None:
    """Both bounds at 5 %: at most one run in ten ever excludes the true difference; here none of 40 may by far."""
    missed = 0
    for seed in range(40):
        random, sequence = Random(seed), Difference(grid=(-0.1, 0.0, 0.05, 0.1))
        for _ in range(100):
            sequence.observe(draws(random, 0.05, 0.1))
        low, high = sequence.interval(0.05)
        missed += low >= 0.05 or high <= 0.05
    assert missed <= 4


def test_the_interval_shrinks_to_the_truth() -> None:
    """From everything to a few points around a difference of nothing."""
    random, sequence = Random(1), Difference()
    assert sequence.interval(0.05) == (-1, 1)
    for _ in range(800):
        sequence.observe(draws(random, 0.05, 0.05))
    low, high = sequence.interval(0.05)
    assert -0.05 <= low < 0 < high <= 0.05


def test_a_margin_is_proved_when_the_candidate_is_as_good() -> None:
    """And not when it is worse by just the margin."""
    good, bad = Difference(0.015, ()), Difference(0.015, ())
    random = Random(2)
    for _ in range(700):
        good.observe(draws(random, 0.01, 0.01))
        bad.observe(draws(random, 0.01, 0.025))
    assert good.evidence_below(0.015) > 20
    assert bad.evidence_below(0.015) < 20


def test_the_margin_is_a_point_of_the_grid() -> None:
    """A margin of its own beside the usual differences."""
    assert Difference(0.033).evidence_below(0.033) == 1
    assert 0.033 not in GRID


def test_an_arm_without_traffic_says_nothing() -> None:
    """The interval stays as it was."""
    sequence = Difference()
    for _ in range(500):
        sequence.observe(Counts(20, 0, 0, 0))
        sequence.observe(Counts(0, 0, 20, 20))
    assert sequence.interval(0.05) == (-1, 1)


def test_a_sequence_goes_on_where_it_stood() -> None:
    """State and restore carry everything."""
    random = Random(3)
    first, second = Difference(0.02), Difference(0.02)
    for _ in range(50):
        first.observe(draws(random, 0.1, 0.2))
    second.restore(first.state())
    block = draws(random, 0.1, 0.2)
    first.observe(block)
    second.observe(block)
    assert first.state() == second.state()
