"""The fleet's script: briefly, against a real Redis; and what it says, on service times that are given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.metering import Measure
from loadtests import fleet, saturation
from loadtests.fleet import Case, Times, day, held, saturates, told, typical
from loadtests.saturation import Cost, Kind, Service
from loadtests.service import SPENT

US = 1e-6
COST = Cost(20 * US, 2 * US)
SERVICE = Service(COST, COST, COST, COST, COST, COST, COST, COST)
TIMES = Times(SERVICE, replace(SERVICE, reap=Cost(50 * US)), idle=0.001, turn=100 * US, request=300 * US)
BRIEF = ["--calls", "320", "--request-us", "300", "--seconds", "0.25", "--check-rate", "100", "--check-workers", "2"]


@pytest.mark.timeout(120)
def test_it_measures_compares_and_foretells(capsys: pytest.CaptureFixture[str]) -> None:
    """Of who asks the model says what stores do, where it is all or nothing, and where it is every second one."""
    assert fleet.main(BRIEF) == 0
    text = capsys.readouterr().out
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines() if " | 2 | " in line}
    asks = {name: (float(cells[2]), float(cells[3])) for name, cells in rows.items()}
    assert asks["every request asks"] == (100.0, 100.0)
    assert asks["large budgets"][0] < 12.0
    assert asks["large budgets"][1] < 5.0  # for less than nine seconds
    model, seen = asks["large budgets, each worker a host"]
    assert 50.0 < model < 60.0
    assert 35.0 < seen < 65.0
    assert "| reserve |" in text
    assert "| budgets near their end: every request asks | 1000 | 100 |" in text
    assert "Where Redis saturates" in text


def test_limits_are_what_the_spending_makes_of_them() -> None:
    """Budgets in tokens, of which some are used; a bucket's and places."""
    scopes = (day(2, left=0.25), saturation.Scope(120.0, Kind.RATE), saturation.Scope(20.0, Kind.PLACES))
    allowances, used = held(scopes, spending=10.0)
    assert [one.limit for one in allowances.budgets] == [86_400 * 10 * SPENT] * 2
    assert used == 64_800 * 10 * SPENT
    limits = {one.measure: one.limit for one in allowances.limits}
    assert limits == {Measure.CONCURRENT: 200, Measure.TOKENS: 1200 * SPENT}


def test_hosts_are_no_larger_than_the_fleet() -> None:
    """A case may say itself who knows of each other."""
    case = Case("x", (day(1),))
    assert case.fleet(2, 4, 1.0, 0.0).per_host == 2
    assert case.fleet(8, 4, 1.0, 0.0).per_host == 4
    assert replace(case, per_host=1).fleet(8, 4, 1.0, 0.0).per_host == 1


def test_it_is_said_where_redis_saturates() -> None:
    """Or that it never does."""
    asking = typical(2.0)[-2]
    said = saturates(asking, 4, 50.0, TIMES)
    assert said.startswith("50/s: 70 % busy with ")
    assert "saturated with" in said
    free = Cost(0.0)
    nothing = replace(TIMES, waiting=Service(free, free, free, free, free, free, free, free))
    assert saturates(asking, 4, 50.0, nothing) == "50/s: never"


def test_times_are_told_in_microseconds() -> None:
    """Both ways in which Redis is asked."""
    text = told(TIMES)
    assert "| reserve | 20.0 | row 2.00 | 20.0 | row 2.00 |" in text
    assert "| reap | 20.0 |  | 50.0 |  |" in text
    assert "300 µs; at most 3333 requests/s" in text
