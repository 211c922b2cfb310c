"""Which rates are asked, which of them count, and what the frontier makes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from loadtests import frontier
from loadtests.client import Target
from loadtests.frontier import ENOUGH, LONGEST_S, SHARES, Job, Step, judged, planned, sweep
from loadtests.line import Answer, Shot
from loadtests.server import free_port
from loadtests.wire import request_bytes
from tests.loadtests.scripted import OK, scripted

SHOT = Shot(request_bytes("POST", "/", {"host": "test"}, b"{}"), "plain")


def step(rate: float, p99_ms: float, *, achieved: float = 1.0, fault: str | None = None) -> Step:
    """A rate of which this share was achieved."""
    return Step(rate, 1000, rate * achieved, p99_ms, fault)


def answers(count: int, rate: float, seconds: float) -> list[Answer]:
    """So many, due at this rate, each of which took so long."""
    return [Answer(SHOT, began=number / rate, status=200, seconds=seconds) for number in range(count)]


def fault_of(answer: Answer) -> str | None:
    """Only the connection's."""
    return answer.fault


def test_rates_are_shares_of_full_load() -> None:
    """From 30 % upwards, nearer to each other towards the top, a step's length each."""
    rates = [rate for rate, _ in planned(10_000, 1.0)]
    assert rates == [share * 10_000 for share in SHARES]
    gaps = [more - less for less, more in pairwise(rates)]
    assert gaps == pytest.approx(sorted(gaps, reverse=True))
    assert {seconds for _, seconds in planned(10_000, 1.0)} == {1.0}


@pytest.mark.parametrize("full", [20, 60, 90, 300])
def test_slow_gateways_are_asked_for_longer(full: float) -> None:
    """Until there are enough requests for a p99, and a rate that would take too long is not asked."""
    steps = planned(full, 1.0)
    assert all(rate * seconds >= ENOUGH - 1e-6 and 1.0 <= seconds <= LONGEST_S for rate, seconds in steps)
    assert len(steps) == sum(full * share * LONGEST_S >= ENOUGH for share in SHARES)


def test_the_frontier_is_the_highest_rate_within_each_bound() -> None:
    """At the bound is within it; a slower rate that a stall spoilt does not count against a faster one."""
    found = frontier.frontier([step(30, 5.0), step(50, 12.0), step(70, 9.0), step(80, 49.0), step(90, 51.0)])
    assert (found.within_5_ms, found.within_10_ms, found.within_50_ms) == (30, 70, 80)


def test_a_rate_that_was_not_held_does_not_count() -> None:
    """Nor one of whose answers one was wrong, however fast the others were."""
    found = frontier.frontier([step(30, 6.0), step(50, 1.0, achieved=0.979), step(70, 1.0, fault="HTTP 503")])
    assert (found.within_5_ms, found.within_10_ms, found.within_50_ms) == (0, 30, 30)
    assert frontier.frontier([step(50, 1.0, achieved=0.98)]).within_5_ms == 50


def test_what_was_achieved_is_counted_from_answer_to_answer() -> None:
    """How long they all took makes no difference to the rate; that they came ever later does."""
    even = judged(100, 200, answers(200, 100, 0.3), fault_of)
    assert (even.achieved, even.p99_ms) == pytest.approx((100, 300))
    assert even.keeps(300.1)
    late = judged(100, 200, answers(200, 90, 0.001), fault_of)
    assert late.achieved == pytest.approx(90)
    assert not late.keeps(50)


def test_one_fault_spoils_a_rate() -> None:
    """It is kept, for who wonders."""
    some = [*answers(199, 100, 0.001), Answer(SHOT, began=1.99, fault="no whole answer in time")]
    assert judged(100, 200, some, fault_of).fault == "no whole answer in time"


Ask = Callable[[Job, float, float], Awaitable[Step]]


def scale(asked: list[float], p99_ms: Callable[[int, float], float]) -> Ask:
    """Stands in for asking: `p99_ms` has the number of the step and its rate."""

    async def ask(_job: Job, rate: float, _seconds: float) -> Step:
        asked.append(rate)
        return step(rate, p99_ms(len(asked), rate))

    return ask


@pytest.fixture
def job() -> Job:
    """Where nobody is asked."""
    return Job(Target("127.0.0.1", 1), SHOT, fault_of)


async def test_a_sweep_ends_where_a_rate_fails_twice(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once may be the machine."""
    asked: list[float] = []
    monkeypatch.setattr(frontier, "_ask", scale(asked, lambda number, rate: 60 if number == 2 or rate > 800 else 4))
    found = await sweep(job, 1000, 1.0, 60)
    assert asked == [300, 500, 500, 700, 800, 850, 850]
    assert (found.within_5_ms, found.within_50_ms, len(found.steps)) == (800, 800, 7)


async def test_a_sweep_ends_with_its_time(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that would end later is not begun."""
    asked: list[float] = []
    monkeypatch.setattr(frontier, "_ask", scale(asked, lambda *_: 1))
    assert (await sweep(job, 1000, 1.0, 0.9)).within_50_ms == 0
    assert not asked


async def test_a_server_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step has about the requests that it was to have, all answered; how fast is the machine's affair."""
    monkeypatch.setattr(frontier, "CONNECTIONS", 8)
    async with scripted(OK) as server:
        first = (await sweep(Job(server.target, SHOT, fault_of), 400, 0.3, 0.9)).steps[0]
    assert (first.rate, first.fault) == (120, None)
    assert 50 <= first.requests <= ENOUGH
    assert first.p99_ms > 0 < first.achieved


async def test_nobody_at_home_is_no_rate() -> None:
    """And it says why."""
    found = await sweep(Job(Target("127.0.0.1", free_port()), SHOT, fault_of), 1000, 0.1, 5)
    assert found.within_50_ms == 0
    assert "cannot connect" in (found.steps[0].fault or "")
