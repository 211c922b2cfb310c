"""Medians, quantiles and the interval of a paired ratio; small samples, no dependency."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie, interpolated; nan when there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample in three numbers."""

    median: float
    low: float
    high: float


def quartiles(values: Sequence[float]) -> Spread:
    """Median and interquartile range."""
    return Spread(quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75))


def paired_ratio(values: Sequence[float], base: Sequence[float], *, draws: int = 4000, seed: int = 1) -> Spread:
    """Median of the ratios of pairs (one pair a round), with the 95 % percentile-bootstrap interval of that median.

    Rounds are drawn, not single values: what disturbed a round disturbed both. With fewer than about six rounds
    the interval is hardly more than the range; read it so.
    """
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(draws))
    return Spread(statistics.median(ratios), quantile(medians, 0.025), quantile(medians, 0.975))
