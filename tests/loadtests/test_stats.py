"""Quantiles and intervals of known samples."""

from __future__ import annotations

import math
import random

import pytest

from loadtests.stats import paired_ratio, quantile, quartiles


def test_quantiles_of_a_known_sample() -> None:
    """Interpolated between neighbours."""
    values = [4.0, 1.0, 3.0, 2.0]
    assert (quantile(values, 0), quantile(values, 0.5), quantile(values, 1)) == (1.0, 2.5, 4.0)
    assert quantile([7.0], 0.99) == 7.0
    assert math.isnan(quantile([], 0.5))


def test_quartiles_of_a_known_sample() -> None:
    """Median in the middle."""
    spread = quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (spread.low, spread.median, spread.high) == (2.0, 3.0, 4.0)


def test_a_ratio_is_that_of_its_pairs() -> None:
    """What disturbs both of a pair does not show."""
    base = [10.0, 100.0, 1000.0, 20.0, 50.0]
    spread = paired_ratio([value * 1.5 for value in base], base)
    assert (spread.low, spread.median, spread.high) == pytest.approx((1.5, 1.5, 1.5))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """95 % nominal; the bootstrap of a median of twelve is a bit short, never below 85 %."""
    rng = random.Random(3)
    covered = 0
    for seed in range(200):
        base = [rng.uniform(90, 110) for _ in range(12)]
        values = [1.6 * one * math.exp(rng.gauss(0, 0.1)) for one in base]
        spread = paired_ratio(values, base, draws=300, seed=seed)
        covered += spread.low <= 1.6 <= spread.high
    assert 170 <= covered <= 200
