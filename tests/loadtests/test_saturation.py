"""The model by hand: rules of slices, batches, and a queue that is simulated beside its formula."""

from __future__ import annotations

import math
import random

import pytest

from app.stores import escrow, redis
from loadtests import saturation
from loadtests.saturation import (
    Cost,
    Fleet,
    Kind,
    Load,
    Scope,
    Service,
    asked,
    cap,
    covered,
    erlang_b,
    gap,
    holders,
    load,
    through,
    together,
    workers_at,
)
from loadtests.stats import quantile

US = 1e-6
SERVICE = Service(
    reserve=Cost(20 * US, 5 * US),
    settle=Cost(10 * US),
    ended=Cost(3 * US, 4 * US),
    draw=Cost(10 * US, 10 * US),
    renew=Cost(5 * US, 1 * US),
    levels=Cost(5 * US, 1 * US),
    reap=Cost(5 * US),
    poll=Cost(2 * US),
)
DAY = 86_400.0


def fleet(workers: int, *scopes: Scope, per_host: int | None = None, seconds: float = 0.0) -> Fleet:
    """A hundred requests a second for each worker."""
    return Fleet(workers, workers if per_host is None else per_host, 100.0, scopes, seconds)


def test_the_rules_are_the_gateway_s() -> None:
    """What is repeated here is what stands there."""
    assert saturation.SHARE == escrow.SHARE
    assert saturation.BATCH == redis._BATCH
    assert saturation.REAPS == 1 / redis._TURN_S


def test_a_slice_is_a_fiftieth_over_the_host_s_workers() -> None:
    """In requests' spending: a limit of 50 s for all is one second of a worker's own."""
    assert cap(fleet(4, Scope(50.0)), Scope(50.0)) == pytest.approx(100)
    assert cap(fleet(8, Scope(50.0), per_host=4), Scope(50.0)) == pytest.approx(200)
    assert covered(fleet(4, Scope(4.0)), Scope(4.0)) > 0.0
    assert covered(fleet(4, Scope(1.9)), Scope(1.9)) == 0.0  # a slice is less than a bound
    assert covered(fleet(4, Scope(DAY)), Scope(DAY, left=0.09)) == 0.0


def test_other_hosts_find_the_slices_of_a_window_taken() -> None:
    """One host draws a fiftieth; a rate's slices leave a tenth of it."""
    assert holders(fleet(4, per_host=1), Scope(DAY)) == pytest.approx(1 / 4)
    assert holders(fleet(4, per_host=1), Scope(120.0, Kind.RATE)) == 1.0
    assert holders(fleet(90, per_host=1), Scope(120.0, Kind.RATE)) == pytest.approx(0.5)
    assert covered(fleet(4), Scope(60.0, Kind.RATE)) == 0.0
    assert covered(fleet(4), Scope(61.0, Kind.RATE)) == 1.0


def test_bounds_under_way_take_room() -> None:
    """As calls do lines: Erlang's formula, with the slice's bounds as lines."""
    assert erlang_b(1, 1.0) == pytest.approx(0.5)
    assert erlang_b(2, 1.0) == pytest.approx(0.2)
    assert erlang_b(5, 0.0) == 0.0
    assert erlang_b(0, 0.0) == 1.0
    places = Scope(1.0, Kind.PLACES)
    assert covered(fleet(4, places, seconds=0.01), places) == pytest.approx(0.8)  # two for one that is taken
    many = Scope(DAY, Kind.PLACES)
    assert covered(fleet(1, many, seconds=3456.0), many) == pytest.approx(0.5)


def test_crumbs_cover_nothing() -> None:
    """Where bounds under way take half of a cap, one cap is spent in nine seconds; every request draws."""
    scope = Scope(60.0)  # a cap of 120 requests, thirty bounds
    assert covered(fleet(4, scope, seconds=0.13), scope) == pytest.approx(1 - gap(fleet(4), scope), abs=1e-3)
    assert covered(fleet(4, scope, seconds=0.15), scope) == pytest.approx(120 / 900)
    one = asked(fleet(4, scope, seconds=0.15))
    assert one.asking == pytest.approx(1 - 120 / 900)
    assert one.draws == pytest.approx(100 * 120 / 900)


def test_settlements_gather_while_others_are_under_way() -> None:
    """One by one where few come, as many as come in a turn where many do, never more than a call takes."""
    assert together(0.0, 0.001) == 1.0
    assert together(1000.0, 0.001) == pytest.approx(1 + math.exp(-1))
    assert together(50_000.0, 0.001) == pytest.approx(50)
    assert together(1e9, 0.001) == saturation.BATCH


def test_large_budgets_ask_by_time_alone() -> None:
    """Every nine seconds one draw of all rows, one call that gives the old ones back, and a gap between them."""
    one = asked(fleet(4, Scope(DAY, rows=8)))
    assert one.asking == pytest.approx(math.exp(-100 * 0.0005) / 9)
    assert one.reserves == pytest.approx(100 * one.asking)
    assert gap(fleet(4), Scope(120.0, Kind.RATE)) == 0.0
    assert one.draws == pytest.approx(1 / 9)
    assert one.drawn == pytest.approx(8 / 9)


def test_whoever_gets_no_slice_asks_for_it_again() -> None:
    """Once a second; where none would ever fit, nobody does."""
    assert asked(fleet(4, Scope(DAY, left=0.05))).draws == pytest.approx(1.0)
    assert asked(fleet(4, Scope(DAY), per_host=1)).draws == pytest.approx(1 / 4 / 9 + 3 / 4)
    assert asked(fleet(4, Scope(1.0))).draws == 0.0


def test_a_rate_draws_twice_for_each_cap() -> None:
    """Half of 2.4 s of a worker's own spending, again and again; places only by time."""
    one = asked(fleet(4, Scope(120.0, Kind.RATE), Scope(DAY, Kind.PLACES)))
    assert one.draws == pytest.approx(2 / 2.4)
    assert one.drawn == pytest.approx(2 / 2.4 + 1 / 9)


def test_a_small_budget_asks_for_every_request() -> None:
    """A round trip that is waited for, and a settlement that is not; leases of places are renewed."""
    one = asked(fleet(4, Scope(1.0), Scope(1.0, Kind.PLACES), seconds=2.0))
    assert (one.asking, one.reserves, one.draws) == (1.0, 100.0, 0.0)
    assert one.settles == pytest.approx(100 / together(100, 0.0005))
    assert (one.renews, one.leases) == (0.1, 200.0)


def test_a_load_adds_up() -> None:
    """Every kind of call at its own cost."""
    few = Fleet(10, 10, 100.0, (Scope(1.0, rows=2),), turn=0.0)
    found = load(few, SERVICE)
    assert found.trips == pytest.approx(2.0)
    assert found.calls == pytest.approx(10 * (100 + 100 + 1 + 5))
    assert found.busy == pytest.approx(10 * (100 * 30 + 100 * 21 + 5 + 10) * US)
    assert load(few, SERVICE, budgets=500).busy == pytest.approx(found.busy + 0.5 * 505 * US)


def test_saturation_is_where_the_load_crosses() -> None:
    """One worker fewer does not."""
    one = fleet(1, Scope(1.0))
    at = workers_at(0.7, one, SERVICE)
    assert load(Fleet(at, 1, 100.0, one.scopes), SERVICE).busy >= 0.7
    assert load(Fleet(at - 1, 1, 100.0, one.scopes), SERVICE).busy < 0.7


def test_waits_are_those_of_a_queue() -> None:
    """Simulated (Lindley): mean within 5 %, the tail's approximation within 15 %; without end from full load on."""
    busy, service, rng = 0.8, 1.0, random.Random(7)
    queue = Load(trips=1.0, asking=1.0, calls=busy / service, service=service, square=service**2)
    wait, waits = 0.0, []
    for _ in range(200_000):
        waits.append(wait)
        wait = max(0.0, wait + service - rng.expovariate(busy / service))
    assert queue.wait == pytest.approx(2.0)
    assert sum(waits) / len(waits) == pytest.approx(queue.wait, rel=0.05)
    assert quantile(waits, 0.99) == pytest.approx(queue.wait_of(0.99), rel=0.15)
    assert queue.wait_of(0.1) == 0.0
    assert Load(1.0, 1.0, 1.0, 1.0, 1.0).wait == math.inf


def test_a_cost_is_a_line_through_two_points() -> None:
    """Its parts are never below zero."""
    assert through((1, 12.0), (5, 20.0)) == Cost(10.0, 2.0)
    assert through((1, 12.0), (5, 11.0)) == Cost(12.0, 0.0)
