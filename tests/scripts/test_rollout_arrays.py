"""Gates in arrays end as the live code does, and nine of them alarm rarely before arms alike."""

from __future__ import annotations

import os

import numpy as np
import pytest

from app.control.policy import Bad, Gate
from scripts.rollout_arrays import endings
from scripts.rollout_statistics import ALL

RUNS = int(os.environ.get("RUNS", "500"))
"""A cell; `RUNS=2000` makes the published table, at up to three minutes a cell."""


def test_they_end_as_the_live_code_does() -> None:
    """That is looked at while they run, of those that alarm too: at this α many do."""
    ended = endings(0.2, 50.0, (Gate(Bad.ERROR), Gate(Bad.HARM)), alpha=0.5, runs=40, requests=2000)
    assert 0 < np.isfinite(ended).sum() < 40


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("weight", [1.0, 5.0, 10.0, 25.0, 50.0])
def test_few_false_alarms_of_nine_gates(rate: float, weight: float) -> None:
    """They share α: any of them in at most 5 % of the runs, up to 20 000 requests each."""
    alarms = int(np.isfinite(endings(rate, weight, ALL, runs=RUNS)).sum())
    print(f"\nall {rate} {weight}: {alarms} of {RUNS}", flush=True)
    assert alarms <= RUNS * 0.05
