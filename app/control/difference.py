"""How much worse the candidate can still be: a confidence sequence for p_candidate - p_stable, valid at every look.

For every difference d on a grid two e-processes run: one against "the difference is at most d", one against "it is at
least d". The confidence sequence holds the differences that neither has refuted (Turner and Grünwald, "Exact
anytime-valid confidence intervals for contingency tables and beyond", 2022). "At least d" is the null of `evariable.py`
with good and bad exchanged and margin -d. Half of the capital is bet on arms that are alike at the pooled rate, half on
the two rates as estimated so far.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp

from app.control.evariable import Counts, log_e

_POINTS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
GRID = (*(-point for point in reversed(_POINTS)), 0.0, *_POINTS)
"""The differences at which an interval may end, besides a gate's own margin."""
PRIOR = (0.5, 50.0)
"""Bad and good units that each estimated rate begins with."""
CEILING = 1e100


class _Side:
    """Two bets against one null; `peak` is the most that their sum ever was."""

    __slots__ = ("bets", "peak")

    def __init__(self) -> None:
        self.bets = [0.5, 0.5]
        self.peak = 1.0

    def grow(self, gains: tuple[float, float]) -> None:
        self.bets = [min(bet * exp(min(gain, 200.0)), CEILING) for bet, gain in zip(self.bets, gains, strict=True)]
        self.peak = max(self.peak, sum(self.bets))


class Difference:
    """The confidence sequence of one gate. `margin` is added to the grid, so that it can be proved exactly."""

    def __init__(self, margin: float = 0.0, grid: Iterable[float] = GRID) -> None:
        self._grid = sorted({*grid, margin})
        self._at_most = [_Side() for _ in self._grid]
        self._at_least = [_Side() for _ in self._grid]
        self._seen = Counts()

    def observe(self, counts: Counts) -> None:
        """Take the next closed block, in the order in which blocks were formed."""
        if counts.stable and counts.candidate:
            s, c, pooled = self._rates()
            turned = counts.turned
            for d, below, above in zip(self._grid, self._at_most, self._at_least, strict=True):
                below.grow((log_e(counts, pooled, pooled, d), log_e(counts, s, c, d)))
                above.grow((log_e(turned, 1 - pooled, 1 - pooled, -d), log_e(turned, 1 - s, 1 - c, -d)))
        self._seen = self._seen.plus(counts)

    def evidence_below(self, d: float) -> float:
        """The largest evidence so far that the difference is below `d`, a point of the grid."""
        return self._at_least[self._grid.index(d)].peak

    def interval(self, alpha: float) -> tuple[float, float]:
        """Lower and upper bound; each alone holds at all times with probability at least 1 - `alpha`."""
        low = [d for d, side in zip(self._grid, self._at_most, strict=True) if side.peak * alpha >= 1]
        high = [d for d, side in zip(self._grid, self._at_least, strict=True) if side.peak * alpha >= 1]
        return max(low, default=-1.0), min(high, default=1.0)

    def state(self) -> list[list[float]]:
        """Everything that `restore` needs, as numbers."""
        return [list(map(float, self._seen)), *([*side.bets, side.peak] for side in (*self._at_most, *self._at_least))]

    def restore(self, state: list[list[float]]) -> None:
        """Continue where the sequence that gave this state stood; its grid must be the same."""
        seen, *sides = state
        self._seen = Counts(*(int(number) for number in seen))
        for side, (first, second, peak) in zip((*self._at_most, *self._at_least), sides, strict=True):
            side.bets, side.peak = [first, second], peak

    def _rates(self) -> tuple[float, float, float]:
        n_s, k_s, n_c, k_c = self._seen
        bad, units = PRIOR[0], sum(PRIOR)
        return (k_s + bad) / (n_s + units), (k_c + bad) / (n_c + units), (k_s + k_c + bad) / (n_s + n_c + units)
