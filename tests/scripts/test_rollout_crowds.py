"""Users, late results and moving weights in arrays end as the live code does, and alarm rarely before arms alike."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from math import isfinite

import pytest

from app.control.simulate import Trial
from app.control.traffic import Crowd
from scripts.rollout_crowds import endings

ZIPF = Trial(0.02, 0.02, rps=10.0, crowd=Crowd())
FALLING = partial(replace, ZIPF, weight=50.0, weight_end=1.0, late_s=30.0)
RUNS = int(os.environ.get("RUNS", "500"))
"""A cell; `RUNS=2000` makes the published table, at up to three minutes a cell."""


@pytest.mark.parametrize(
    "trial",
    [
        replace(ZIPF, candidate_rate=0.2, weight=25.0, late_s=5.0),
        FALLING(candidate_rate=0.2),
        Trial(0.05, 0.15, 50.0, weight_end=10.0, late_s=30.0),
    ],
    ids=["users", "users, late, falling", "late, falling"],
)
def test_they_end_as_the_live_code_does(trial: Trial) -> None:
    """That is looked at while they run; here all of them alarm, so that there is something to look at."""
    ended = endings(replace(trial, max_requests=6000, runs=3))
    assert all(map(isfinite, ended))
    assert ended == endings(replace(trial, max_requests=6000, runs=3))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("name", "trial"),
    [
        ("users 1.0", replace(ZIPF, weight=1.0)),
        ("users 10.0", replace(ZIPF, weight=10.0)),
        ("users 50.0", replace(ZIPF, weight=50.0)),
        ("users falling", FALLING()),
        ("users rising", replace(ZIPF, weight=1.0, weight_end=50.0, late_s=30.0)),
        ("late falling 0.01 10.0", Trial(0.01, 0.01, 50.0, weight_end=1.0, late_s=30.0, rps=10.0)),
        ("late falling 0.2 100.0", Trial(0.2, 0.2, 50.0, weight_end=1.0, late_s=30.0, rps=100.0)),
    ],
    ids=["users at 1", "users at 10", "users at 50", "users falling", "users rising", "late at 1", "late at 20"],
)
def test_few_false_alarms(name: str, trial: Trial) -> None:
    """At most 5 % of the runs, up to 20 000 requests each."""
    alarms = sum(map(isfinite, endings(replace(trial, runs=RUNS))))
    print(f"\n{name}: {alarms} of {RUNS}", flush=True)
    assert alarms <= RUNS * 0.05
