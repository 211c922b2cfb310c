"""Evidence that the candidate is worse than stable by more than a margin: an e-process, valid whenever one looks.

A gambler starts with 1 and bets against the null hypothesis p_candidate <= p_stable + margin, block after block. Under
the null no strategy grows the capital on average, so by Ville's inequality the capital ever reaches 1/α with
probability at most α: however often one looks, whenever one stops, however the bets were chosen from earlier blocks.
Each bet is the e-variable of `evariable.py` against one alternative: the stable rate is estimated from earlier blocks,
the candidate's odds are a multiple of it. Which multiple is unknown, so the capital is spread over several. Three
habits matter for speed:

- a tenth is kept back and invested bit by bit, some of it at each new step. A candidate that was good for long has used
  up what was bet against it; what was kept back still sees it turn bad.
- a little is moved between the multiples all the time, for the same reason.
- rates of stable older than `MEMORY` units fade, as load and callers change over a day.

None of the constants can break the guarantee; they only decide how fast evidence grows. How they were chosen and what
they give is in docs/rollout-statistics.md. The one-sided use for releases follows Lindon, Sanden and Shirikian, "Rapid
Regression Detection in Software Deployments through Sequential Testing", KDD 2022.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log

from app.control.evariable import Counts, log_e

ODDS = (1.8, 3.5, 7.0, 14.0, 100.0)
"""How many times worse the candidate's odds of a bad event may be: what is bet on."""
SHARES = (0.14, 0.18, 0.235, 0.235, 0.11)
"""The part of the capital that each multiple begins with; the rest is kept back."""
INVESTED = sum(SHARES)
RESERVE = 10_000.0
"""Per unit, 1 / (units so far + this) of what is kept back is invested."""
STAKE = 0.5
"""Part of what is kept back that is invested when a step begins, for that is when candidates turn bad."""
MOVE = 2.5e-5
"""Part of the invested capital that is spread anew over the multiples, per unit observed."""
PRIOR = (0.5, 50.0)
"""Bad and good units that the estimate of the stable rate begins with: about 1 %."""
MEMORY = 20_000.0
"""Stable units after which older ones count half."""
LEVELS = 20
"""Steps per unit of log odds in which the stable rate is rounded, so that simulations can look bets up."""
CEILING = 1e100
"""Capital above this is thrown away, which is always allowed, so that nothing overflows."""


class Evidence:
    """The e-process of one gate. `value` is the capital now, `peak` the most it ever was."""

    __slots__ = ("_bad", "_bets", "_good", "_kept", "_units", "margin", "peak", "value")

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin
        self.value = self.peak = 1.0
        self._bets = list(SHARES)
        self._kept = 1.0 - INVESTED
        self._bad = self._good = self._units = 0.0

    def begin_step(self) -> None:
        """The weight is about to change."""
        stake = self._kept * STAKE
        self._kept -= stake
        self._bets = [bet + stake * share / INVESTED for bet, share in zip(self._bets, SHARES, strict=True)]

    def observe(self, counts: Counts) -> None:
        """Take the next closed block. Blocks come in the order in which they were formed."""
        n_s, k_s, n_c, _ = counts
        if n_s and n_c:
            self._bet(counts)
        self._learn(n_s, k_s)

    def state(self) -> list[float]:
        """Everything that `restore` needs, as numbers."""
        return [self.value, self.peak, self._kept, self._units, self._bad, self._good, *self._bets]

    def restore(self, state: list[float]) -> None:
        """Continue where the evidence that gave this state stood."""
        self.value, self.peak, self._kept, self._units, self._bad, self._good, *self._bets = state

    def _bet(self, counts: Counts) -> None:
        units = counts[0] + counts[2]
        moved = units * MOVE
        moved = min(moved, 0.1)
        part = units / (self._units + RESERVE)
        invested = self._kept * min(0.1, part)
        spread = (invested + moved * sum(self._bets)) / INVESTED
        stay = 1 - moved
        self._kept -= invested
        self._units += units
        level = round(LEVELS * log((self._bad + PRIOR[0]) / (self._good + PRIOR[1])))
        gains = _gains(level, counts, self.margin)
        self._close(
            [(bet * stay + spread * share) * gain for bet, share, gain in zip(self._bets, SHARES, gains, strict=True)]
        )

    def _close(self, bets: list[float]) -> None:
        total = sum(bets) + self._kept
        if total > CEILING:
            bets = [bet * CEILING / total for bet in bets]
            total = CEILING
        self._bets = bets
        self.value = total
        self.peak = max(self.peak, total)

    def _learn(self, units: int, bad: int) -> None:
        self._bad += bad
        self._good += units - bad
        if self._bad + self._good > 2 * MEMORY:
            self._bad /= 2
            self._good /= 2


@lru_cache(8192)
def _gains(level: int, counts: Counts, margin: float) -> tuple[float, ...]:
    """What each bet brings on this block when stable's log odds are `level / LEVELS`."""
    n_s, k_s, n_c, k_c = counts
    lines = lines_of(level, n_s, n_c, margin)
    return tuple(exp(min(base + k_s * stable + k_c * candidate, 200.0)) for base, stable, candidate in lines)


@lru_cache(8192)
def lines_of(level: int, n_s: int, n_c: int, margin: float) -> tuple[tuple[float, float, float], ...]:
    """The logarithm of what each bet brings on a block of this size: with no bad unit, and what bad units add.

    `log_e` is linear in the bad units, so three numbers say it all: the logarithm when none is bad, and what each bad
    stable and each bad candidate unit adds to it.
    """
    s = _rate(level / LEVELS)
    border = min(max(s + margin, 1e-9), 1 - 1e-9)
    lines = []
    for multiple in ODDS:
        c = _rate(log(border / (1 - border) * multiple))
        base = log_e(Counts(n_s, 0, n_c, 0), s, c, margin)
        stable = log_e(Counts(n_s, 1, n_c, 0), s, c, margin) - base
        candidate = log_e(Counts(n_s, 0, n_c, 1), s, c, margin) - base
        lines.append((base, stable, candidate))
    return tuple(lines)


def _rate(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds))
