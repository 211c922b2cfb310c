"""Trials at one weight: few false alarms, quick true ones, beside the rule that other tools use. Long ones are slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from random import Random

import pytest

from app.control.analysis import Analysis
from app.control.evariable import Counts
from app.control.fixed_rule import FixedRule
from app.control.policy import Bad, Gate
from app.control.simulate import Ending, Simulation, Trial, quantile, simulate
from app.control.traffic import Crowd

ERROR = Gate(Bad.ERROR)
NINE = (
    *(Gate(kind) for kind in (Bad.ERROR, Bad.HARM, Bad.REFUSAL, Bad.TRUNCATED, Bad.BAD_FORMAT)),
    Gate(Bad.SLOW_FIRST_TOKEN, seconds=2),
    Gate(Bad.SLOW_TOTAL, seconds=30),
    Gate(Bad.COST, over_usd=0.01),
    Gate(Bad.LOW_QUALITY, below=0.5),
)
USERS = Trial(0.02, 0.02, crowd=Crowd(), runs=200)


@pytest.mark.parametrize(
    ("candidate", "within"),
    [(0.05, 1500), (0.10, 400), (0.50, 120), (1.0, 120)],
)
def test_a_worse_candidate_is_found(candidate: float, within: int) -> None:
    """1 % against 5, 10, 50 and 100 % at a tenth of the traffic: the median total of requests, at α = 5 %."""
    trial = Trial(0.01, candidate, 10.0, runs=300)
    median = simulate(trial).document()["median_requests_to_rollback"]
    assert median is not None
    assert median <= within


def test_few_false_alarms_in_short() -> None:
    """The slow test below with fewer runs and requests: 10 of 100 are beyond chance at 5 %."""
    assert simulate(Trial(0.05, 0.05, 25.0, runs=100, max_requests=2000)).rollbacks <= 10


def test_same_seed_same_endings() -> None:
    """And another seed, others."""
    trial = Trial(0.01, 0.1, runs=20)
    assert simulate(trial) == simulate(trial)
    assert simulate(trial) != simulate(replace(trial, seed=2))


def test_parts_make_the_whole() -> None:
    """Runs are numbered, so that several processes may share them."""
    whole = Trial(0.01, 0.1, runs=6, max_requests=400)
    parts = [replace(whole, first_run=first, runs=2) for first in (0, 2, 4)]
    assert tuple(ending for part in parts for ending in simulate(part).endings) == simulate(whole).endings


def test_the_document_has_the_contract_s_keys() -> None:
    """Runs that were not rolled back are infinitely late: a median among them is null."""
    endings = [Ending(100, 10, rolled_back=True), Ending(300, 30, rolled_back=True), Ending(500, 50, rolled_back=False)]
    assert Simulation(tuple(endings)).document() == {
        "runs": 3,
        "rollbacks": 2,
        "rollback_rate": 2 / 3,
        "median_requests_to_rollback": 300.0,
        "p90_requests_to_rollback": None,
        "median_candidate_requests": 30.0,
    }


@pytest.mark.parametrize(("part", "value"), [(0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (0.9, None), (0.0, 1.0)])
def test_quantiles(part: float, value: float | None) -> None:
    """Of 1, 2, 3 and infinity."""
    assert quantile([3.0, None, 1.0, 2.0], part) == value


def test_a_run_ends_at_its_last_request() -> None:
    """Also where looks do not divide the requests."""
    (ending,) = simulate(Trial(0.0, 0.0, 50.0, max_requests=90, look_every=40, runs=1)).endings
    assert ending.requests == 90
    assert not ending.rolled_back


def test_the_fixed_rule_sees_the_same_traffic() -> None:
    """It alarms nearly always before arms that are alike, at 1 request a second and 5 % bad ones."""
    trial = Trial(0.05, 0.05, 10.0, runs=20, rps=1.0, max_requests=10_000)
    assert simulate(replace(trial, fixed=FixedRule)).rollbacks >= 19
    assert simulate(trial).rollbacks <= 2


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Trial(-0.1, 0.01), "stable rate"),
        (lambda: Trial(0.01, 1.1), "candidate rate"),
        (lambda: Trial(0.01, 0.01, 0.0), "weight"),
        (lambda: Trial(0.01, 0.01, weight_end=101.0), "weight"),
        (lambda: Trial(0.01, 0.01, alpha=1.0), "alpha"),
        (lambda: Trial(0.01, 0.01, runs=0), "above 0"),
        (lambda: Trial(0.01, 0.01, gates=NINE, late_s=5.0), "one gate"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], Trial], word: str) -> None:
    """With a word on what is wrong."""
    with pytest.raises(ValueError, match=word):
        make()


def test_a_worse_candidate_is_found_among_sticky_users() -> None:
    """One observation per user takes longer than per request, and still ends it."""
    trial = replace(USERS, candidate_rate=0.2, weight=25.0, late_s=5.0, runs=10, max_requests=8000)
    assert simulate(trial).rollbacks >= 9


@pytest.mark.parametrize("candidate", [0.02, 1.0])
def test_one_user_decides_nothing(candidate: float) -> None:
    """All traffic is his: one observation, which is no evidence for or against anybody."""
    assert simulate(replace(USERS, candidate_rate=candidate, weight=50.0, crowd=Crowd(users=1), runs=20)).rollbacks == 0


def test_a_user_with_most_of_the_traffic_rolls_nothing_back() -> None:
    """Four fifths of it: still one observation among the others."""
    assert simulate(replace(USERS, weight=50.0, crowd=Crowd(zipf=3.0), runs=40)).rollbacks <= 4


def by_completion(seed: int) -> bool:
    """False alarm when results are taken as they come: bad ones up to 30 s late, weight falling, 100 requests/s."""
    random, analysis = Random(seed), Analysis([ERROR], 0.05, intervals=False)
    ends: list[tuple[float, bool, bool]] = []
    block: list[tuple[bool, bool]] = []
    for sent in range(12_000):
        candidate, bad = random.random() < 0.5 - 0.49 * sent / 12_000, random.random() < 0.2
        heappush(ends, (sent / 100 + (random.uniform(0, 30) if bad else 0.0), candidate, bad))
        while ends and ends[0][0] <= sent / 100:
            block.append(heappop(ends)[1:])
            if len(block) == 20:
                stable, served = ([bad for arm, bad in block if arm is of] for of in (False, True))
                analysis.observe([Counts(len(stable), sum(stable), len(served), sum(served))])
                block.clear()
    return analysis.alarm


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
def test_few_false_alarms(rate: float, weight: float) -> None:
    """Arms alike, 20 000 requests, looked at after every 20: at most 5 % of 1 000 runs."""
    assert simulate(Trial(rate, rate, weight, runs=1000)).rollbacks <= 50


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_few_false_alarms_of_nine_gates() -> None:
    """They share α: at most 5 % of 100 runs alarm at any of them."""
    assert simulate(Trial(0.05, 0.05, 10.0, gates=NINE, runs=100)).rollbacks <= 5


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "trial",
    [
        replace(USERS, weight=10.0),
        replace(USERS, weight=50.0),
        replace(USERS, weight=50.0, weight_end=1.0, late_s=30.0),
        replace(USERS, weight=1.0, weight_end=50.0, late_s=30.0),
        Trial(0.2, 0.2, 50.0, weight_end=1.0, late_s=30.0, runs=200),
    ],
    ids=["users at 10 %", "users at 50 %", "users, late, falling", "users, late, rising", "late, falling"],
)
def test_few_false_alarms_in_life(trial: Trial) -> None:
    """Zipf users of unequal rates, late results, moving weights: at most 5 % of 200 runs."""
    assert simulate(trial).rollbacks <= 10


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_counting_requests_of_sticky_users_would_fail() -> None:
    """What the unit of observation is for: the same traffic, each request counted, alarms in more than 10 % of runs."""
    trial = replace(USERS, weight=50.0, crowd=Crowd(per_request=True), runs=100)
    assert simulate(trial).rollbacks > 10


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_taking_results_as_they_come_would_fail() -> None:
    """What the order of starts is for: in order the same traffic gives few alarms, this way nearly always one."""
    trial = Trial(0.2, 0.2, 50.0, weight_end=1.0, late_s=30.0, rps=100.0, max_requests=12_000, runs=60)
    assert simulate(trial).rollbacks <= 6
    assert sum(map(by_completion, range(60))) > 40
