"""The block's e-variable: its expectation under the null is at most 1, found by adding up every outcome."""

from __future__ import annotations

from itertools import product
from math import comb, exp, isfinite, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.control.evariable import Counts, log_e, project

BLOCKS = ((1, 1), (2, 5), (9, 2), (18, 2))
ALTERNATIVES = ((0.01, 0.05), (0.001, 0.5), (0.2, 0.9), (0.05, 0.06), (0.4, 0.999))
MARGINS = (0.0, 0.005, 0.02, 0.3, -0.02)


def pmf(n: int, k: int, p: float) -> float:
    """Binomial probability."""
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def expectation(block: tuple[int, int], alternative: tuple[float, float], margin: float, p: float, q: float) -> float:
    """The e-variable's expectation when stable's rate is p and the candidate's q: over every outcome of the block."""
    n_s, n_c = block
    return sum(
        pmf(n_s, k_s, p) * pmf(n_c, k_c, q) * exp(log_e(Counts(n_s, k_s, n_c, k_c), *alternative, margin))
        for k_s in range(n_s + 1)
        for k_c in range(n_c + 1)
    )


def border(margin: float, points: int = 41) -> list[tuple[float, float]]:
    """Points of the null's border, its ends included."""
    low, high = max(0.0, -margin), min(1.0, 1.0 - margin)
    rates = [low + (high - low) * step / (points - 1) for step in range(points)]
    return [(p, min(max(p + margin, 0.0), 1.0)) for p in [*rates, low + 1e-4, low + 1e-3, low + 1e-2]]


@pytest.mark.parametrize(("block", "margin"), list(product(BLOCKS, MARGINS)))
def test_no_point_of_the_border_gains(block: tuple[int, int], margin: float) -> None:
    """The largest expectation on the border p_candidate = p_stable + margin is 1, whatever the alternative."""
    worst = [
        max(expectation(block, alternative, margin, p, q) for p, q in border(margin)) for alternative in ALTERNATIVES
    ]
    assert max(worst) <= 1 + 1e-9
    assert max(worst) > 1 - 1e-3  # nothing is given away


@pytest.mark.parametrize("margin", MARGINS)
def test_no_point_inside_the_null_gains(margin: float) -> None:
    """A candidate that is better than the border allows never makes evidence on average."""
    grid = [step / 20 for step in range(21)]
    inside = [(p, q) for p in grid for q in grid if q <= p + margin]
    assert max(expectation((9, 2), (0.1, 0.6), margin, p, q) for p, q in inside) <= 1 + 1e-9


RATE = st.floats(0.0005, 0.9995)


@given(
    block=st.tuples(st.integers(1, 12), st.integers(1, 6)),
    s=RATE,
    c=RATE,
    margin=st.floats(-0.5, 0.9),
    p=st.floats(0, 1),
    better=st.floats(0, 1),
)
@settings(deadline=None, max_examples=300)
def test_no_null_gains_against_any_alternative(
    block: tuple[int, int], s: float, c: float, margin: float, p: float, better: float
) -> None:
    """Any block, any alternative, any margin, any point of the null."""
    p = min(max(p, -margin, 0.0), 1.0)
    q = min(p + margin, 1.0) * better
    assert expectation(block, (s, c), margin, p, max(q, 0.0)) <= 1 + 1e-9


@pytest.mark.parametrize("margin", [0.005, 0.02, 0.1])
def test_the_projection_is_the_nearest_point_of_the_border(margin: float) -> None:
    """It minimises n_s KL + n_c KL over a fine grid."""
    n_s, n_c, s, c = 18, 2, 0.01, 0.3

    def distance(x: float) -> float:
        y = x + margin
        stable = s * log(s / x) + (1 - s) * log((1 - s) / (1 - x))
        return n_s * stable + n_c * (c * log(c / y) + (1 - c) * log((1 - c) / (1 - y)))

    found = project(n_s, n_c, s, c, margin)
    assert distance(found) <= min(distance(step / 10_000) for step in range(1, 9_000)) + 1e-12


def test_a_true_alternative_makes_evidence() -> None:
    """Under the alternative the logarithm grows on average: that is what the e-variable is for."""
    block, alternative = (18, 2), (0.01, 0.2)
    growth = sum(
        pmf(18, k_s, 0.01) * pmf(2, k_c, 0.2) * log_e(Counts(18, k_s, 2, k_c), *alternative)
        for k_s in range(19)
        for k_c in range(3)
    )
    assert growth > 0.4
    assert expectation(block, alternative, 0.0, 0.01, 0.2) > 2


@pytest.mark.parametrize("counts", [Counts(20, 3, 0, 0), Counts(0, 0, 20, 20), Counts()])
def test_a_block_with_one_arm_says_nothing(counts: Counts) -> None:
    """An arm without traffic is no evidence for or against anything."""
    assert log_e(counts, 0.01, 0.5) == 0
    assert log_e(counts, 0.01, 0.5, 0.01) == 0


def test_an_alternative_inside_the_null_is_no_bet() -> None:
    """Better than stable, or worse by less than the margin."""
    assert log_e(Counts(5, 5, 5, 0), 0.5, 0.2) == 0
    assert log_e(Counts(5, 0, 5, 5), 0.5, 0.55, 0.1) == 0


def test_extreme_rates_stay_finite() -> None:
    """Rates at the edge and large blocks overflow nothing."""
    for s, c, margin in ((1e-9, 1 - 1e-9, 0.0), (1e-9, 1e-8, 1e-9), (0.5, 1 - 1e-12, 0.4999), (1e-6, 0.9, -0.3)):
        for counts in (Counts(100_000, 0, 100_000, 100_000), Counts(100_000, 100_000, 1, 0)):
            assert isfinite(log_e(counts, s, c, margin))


def test_turning_a_block_exchanges_good_and_bad() -> None:
    """Twice is nothing."""
    assert Counts(10, 1, 5, 4).turned == Counts(10, 9, 5, 1)
    assert Counts(10, 1, 5, 4).turned.turned == Counts(10, 1, 5, 4)
