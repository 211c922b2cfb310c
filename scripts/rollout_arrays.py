"""Gates before arms that are alike, thousands of runs side by side in arrays: for a table, in seconds.

The live code takes 50 ms and more for one run of nine gates. Here all runs take each block together; the arithmetic is
that of `app.control.evidence`, whose table of bets is used. That both are the same is checked every time: the traffic
of the first `CHECKED` runs, and of as many that alarmed, goes to the live code too; an ending that differs is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from app.control.analysis import Analysis
from app.control.evariable import Counts
from app.control.evidence import CEILING, INVESTED, LEVELS, MEMORY, MOVE, PRIOR, RESERVE, SHARES, lines_of
from app.control.policy import Gate, shares

CHECKED = 10
SIZE = 20
"""Requests between two looks: a block."""
_LOWEST = 20 * LEVELS
"""Where the log odds 0 stand in a table of levels."""
Array = NDArray[Any]


class Evidences:
    """The e-process of one gate in many runs; `peak` is the most that each ever was."""

    def __init__(self, runs: int, margin: float = 0.0) -> None:
        self.peak = np.ones(runs)
        self._margin = margin
        self._lines = np.full((2 * _LOWEST, SIZE + 1, len(SHARES), 3), np.nan)
        self._bets = np.tile(np.array(SHARES), (runs, 1))
        self._kept = np.full(runs, 1.0 - INVESTED)
        self._units, self._bad, self._good = np.zeros(runs), np.zeros(runs), np.zeros(runs)

    def observe(self, counts: tuple[Array, Array, Array, Array]) -> None:
        """One block of each run: units and bad units of stable, the same of the candidate."""
        n_s, k_s, n_c, _ = counts
        self._bet(counts, (n_s > 0) & (n_c > 0))
        self._bad += k_s
        self._good += n_s - k_s
        full = self._bad + self._good > 2 * MEMORY
        self._bad[full] /= 2
        self._good[full] /= 2

    def _bet(self, counts: tuple[Array, Array, Array, Array], both: Array) -> None:
        units = counts[0] + counts[2]
        moved = np.minimum(0.1, units * MOVE)
        invested = self._kept * np.minimum(0.1, units / (self._units + RESERVE))
        spread = (invested + moved * self._bets.sum(axis=1)) / INVESTED
        bets = (self._bets * (1 - moved)[:, None] + spread[:, None] * np.array(SHARES)) * self._gains(counts)
        kept = self._kept - invested
        total = bets.sum(axis=1) + kept
        bets *= np.minimum(1.0, CEILING / total)[:, None]
        total = np.minimum(total, CEILING)
        self._bets[both], self._kept[both] = bets[both], kept[both]
        self._units[both] += units[both]
        self.peak[both] = np.maximum(self.peak, total)[both]

    def _gains(self, counts: tuple[Array, Array, Array, Array]) -> Array:
        _, k_s, n_c, k_c = counts
        level = np.rint(LEVELS * np.log((self._bad + PRIOR[0]) / (self._good + PRIOR[1]))).astype(int) + _LOWEST
        lines = self._lines[level, n_c]
        if np.isnan(lines[:, 0, 0]).any():
            for row, units in {*zip(level.tolist(), n_c.tolist(), strict=True)}:
                self._lines[row, units] = lines_of(row - _LOWEST, SIZE - units, units, self._margin)
            lines = self._lines[level, n_c]
        base, stable, candidate = np.moveaxis(lines, 2, 0)
        return cast("Array", np.exp(np.minimum(base + k_s[:, None] * stable + k_c[:, None] * candidate, 200.0)))


def endings(
    rate: float, weight: float, gates: Sequence[Gate], *, alpha: float = 0.05, runs: int, requests: int = 20_000
) -> Array:
    """Both arms with this rate at each gate: the requests until the first alarm of any gate; infinity without one.

    Looked at after every 20 requests, which are a block. Raises AssertionError where the live code ends otherwise.
    """
    random = np.random.default_rng(round(rate * 1e6) + round(weight * 1e3))
    needed = [1 / (alpha * share) for share in shares(gates)]
    evidences = [Evidences(runs, gate.margin) for gate in gates]
    ended = np.full(runs, np.inf)
    kept: list[Array] = []
    for sent in range(SIZE, requests + 1, SIZE):
        candidate = random.binomial(SIZE, weight / 100, runs)
        stable = SIZE - candidate
        block = [(stable, random.binomial(stable, rate), candidate, random.binomial(candidate, rate)) for _ in gates]
        for counts, evidence, enough in zip(block, evidences, needed, strict=True):
            evidence.observe(counts)
            ended[(evidence.peak >= enough) & np.isinf(ended)] = sent
        kept.append(np.array(block, np.int8))
    alarmed = np.flatnonzero(np.isfinite(ended))
    _check(np.array(kept), gates, alpha, ended, {*range(min(CHECKED, runs)), *map(int, alarmed[:CHECKED])})
    return ended


def _check(kept: Array, gates: Sequence[Gate], alpha: float, ended: Array, runs: Iterable[int]) -> None:
    """The live code, on the same traffic, ends when the arrays do. `kept` is by block, gate, number and run."""
    for run in runs:
        analysis = Analysis(gates, alpha, intervals=False)
        live = float("inf")
        for number, block in enumerate(kept[..., run].tolist(), 1):
            analysis.observe([Counts(*counts) for counts in block])
            if analysis.alarm:
                live = float(SIZE * number)
                break
        if live != ended[run]:
            raise AssertionError(f"run {run} ends after {ended[run]} requests in arrays, after {live} live")
