"""The e-variable of one block of two Bernoulli samples, for the null hypothesis p_candidate <= p_stable + margin.

A block holds n_s stable and n_c candidate units, n = n_s + n_c; each is bad or not. Against a simple alternative (s, c)
outside the null, the e-variable is the likelihood ratio between the alternative and its projection (s*, c*) on the
null: the point that minimises n_s KL(s, s*) + n_c KL(c, c*). It lies on the border c* = s* + margin.

Why its expectation is at most 1 under every point (p, q) of the null: it is a product over independent units, so its
expectation is L_s(p)^n_s L_c(q)^n_c, where L_s(p) = p s/s* + (1-p)(1-s)/(1-s*) and L_c alike. By the inequality of the
arithmetic and geometric mean that is at most A^n, A = (n_s L_s(p) + n_c L_c(q)) / n. A is linear in (p, q), so its
largest value over the null lies in a corner, and the projection makes it 1. The projection is found numerically: what
it misses 1 by in the corners is divided out, so the bound holds exactly, not up to a tolerance.

Source: Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping", J. Stat. Plan. Inference 230 (2024); margins: Turner and Grünwald, "Exact anytime-valid confidence intervals
for contingency tables and beyond" (2022).
"""

from __future__ import annotations

from math import log
from operator import add
from typing import NamedTuple


class Counts(NamedTuple):
    """One block seen through one gate: units and bad units of either arm."""

    stable: int = 0
    stable_bad: int = 0
    candidate: int = 0
    candidate_bad: int = 0

    @property
    def turned(self) -> Counts:
        """The same block with good and bad exchanged."""
        return Counts(self.stable, self.stable - self.stable_bad, self.candidate, self.candidate - self.candidate_bad)

    def plus(self, other: Counts) -> Counts:
        """Both blocks together."""
        return Counts._make(map(add, self, other))


def log_e(counts: Counts, s: float, c: float, margin: float = 0.0) -> float:
    """Natural logarithm of the block's e-variable against the alternative rates `s`, `c`, both strictly inside (0, 1).

    0 (no bet) where the alternative lies inside the null, or where only one arm has units: such a block says nothing.
    """
    n_s, k_s, n_c, k_c = counts
    if c <= s + margin or not n_s or not n_c:
        return 0.0
    if margin == 0.0:
        p = q = (n_s * s + n_c * c) / (n_s + n_c)
        excess = 0.0
    else:
        p = project(n_s, n_c, s, c, margin)
        q = p + margin
        excess = _excess(n_s, n_c, (s, c), (p, q), margin)
    return (
        k_c * log(c / q)
        + (n_c - k_c) * log((1 - c) / (1 - q))
        + k_s * log(s / p)
        + (n_s - k_s) * log((1 - s) / (1 - p))
        - excess
    )


def project(n_s: int, n_c: int, s: float, c: float, margin: float) -> float:
    """The stable rate s* of the alternative's projection on the border c* = s* + margin: Newton inside a bracket."""
    low, high = max(s, -margin), min(c - margin, 1.0)
    x = (n_s * low + n_c * high) / (n_s + n_c)
    for _ in range(60):
        y = x + margin
        left, right = y * (1 - y), x * (1 - x)
        slope = n_s * (x - s) * left + n_c * (y - c) * right
        if slope > 0:
            high = x
        else:
            low = x
        bend = n_s * (left + (x - s) * (1 - 2 * y)) + n_c * (right + (y - c) * (1 - 2 * x))
        step = x - slope / bend if bend > 0 else low
        if not low < step < high:
            step = (low + high) / 2
        if abs(step - x) < 1e-12:
            break
        x = step
    return x


def _excess(n_s: int, n_c: int, alternative: tuple[float, float], null: tuple[float, float], margin: float) -> float:
    """The n log A in the worst corner of the null, at least 0: what the projection's rounding may have added.

    L_s falls in p and L_c rises in q, so the corners that count are the ends of the border.
    """
    (s, c), (p, q) = alternative, null
    worst = 1.0
    for corner in (max(0.0, -margin), min(1.0, 1.0 - margin)):
        at = corner + margin
        stable = corner * s / p + (1 - corner) * (1 - s) / (1 - p)
        candidate = at * c / q + (1 - at) * (1 - c) / (1 - q)
        worst = max(worst, (n_s * stable + n_c * candidate) / (n_s + n_c))
    return (n_s + n_c) * log(worst)
