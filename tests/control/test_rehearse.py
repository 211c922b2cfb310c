"""Whole rollouts on invented traffic, through the verdicts and transitions that run live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.control.lifecycle import State
from app.control.policy import Bad, Gate, OnFailure, Policy, Step
from app.control.rehearse import Rehearsal, rehearse
from app.control.traffic import Crowd, Rates

GATES = (Gate(Bad.ERROR), Gate(Bad.HARM))
GOOD, BAD = Rates(0.01, 0.01), Rates(0.01, 0.2)
STEPS = (Step(5, 60, 20), Step(25, 60, 20), Step(100, 60, 20))
POLICY = Policy(STEPS, GATES)
PLAN = Rehearsal(POLICY, (GOOD, GOOD), rps=20.0, runs=10)


def test_a_good_candidate_is_promoted() -> None:
    """Step by step, in the time that the steps are held."""
    document = rehearse(PLAN).document()
    assert document["promoted"] == document["runs"] == 10
    assert document["rollbacks"] == 0
    assert document["median_seconds_to_promotion"] == 180.0
    assert document["median_seconds_to_rollback"] is None


def test_a_candidate_that_turns_bad_is_rolled_back_where_it_does() -> None:
    """At 25 %, by the gate that saw it."""
    finishes = rehearse(replace(PLAN, rates=(GOOD, BAD), bad_from=25.0))
    assert {run.state for run in finishes.runs} == {State.ROLLED_BACK}
    assert {run.weight for run in finishes.runs} == {25.0}
    document = finishes.document()
    assert document["rollbacks_by_gate"] == {"harm": 10}
    assert document["median_requests_to_rollback"] == pytest.approx(1400, abs=200)


def test_a_policy_may_pause_on_failure() -> None:
    """Then nobody is rolled back, and nobody promoted."""
    document = rehearse(replace(PLAN, policy=replace(POLICY, on_failure=OnFailure.PAUSE), rates=(BAD, GOOD))).document()
    assert (document["paused"], document["promoted"], document["rollbacks"]) == (10, 0, 0)


def test_a_manual_rollout_waits_for_a_person() -> None:
    """After its first step."""
    document = rehearse(replace(PLAN, policy=replace(POLICY, auto=False))).document()
    assert document["waiting"] == 10


def test_too_little_traffic_is_inconclusive() -> None:
    """Ten users, one in twenty at the candidate: it waits, then pauses."""
    policy = Policy((Step(5, 60, 20, 300), Step(100, 60)), GATES[:1])
    plan = Rehearsal(policy, (GOOD,), rps=20.0, runs=5, crowd=Crowd(users=10))
    assert rehearse(plan).document()["paused"] == 5


def test_a_proof_takes_longer_and_comes() -> None:
    """Promotion waits for it: without it, this step would take no time."""
    policy = Policy((Step(50, 0, 0, 20_000),), (Gate(Bad.ERROR, margin=0.03, prove=True),))
    document = rehearse(Rehearsal(policy, (GOOD,), rps=20.0, runs=5)).document()
    assert document["promoted"] == 5
    seconds = document["median_seconds_to_promotion"]
    assert isinstance(seconds, float)
    assert 10 < seconds < 300


def test_same_seed_same_finishes() -> None:
    """And another seed, others."""
    plan = replace(PLAN, rates=(BAD, GOOD), runs=5)
    assert rehearse(plan) == rehearse(plan)
    assert rehearse(plan) != rehearse(replace(plan, seed=2))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: replace(PLAN, rates=(GOOD,)), "1 pairs of rates for 2 gates"),
        (lambda: replace(PLAN, rps=0.0), "above 0"),
        (lambda: replace(PLAN, late_s=5.0), "one gate"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], Rehearsal], word: str) -> None:
    """With a word on what is wrong."""
    with pytest.raises(ValueError, match=word):
        make()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("users", [300, 3000])
def test_few_false_alarms_before_a_closed_circle_of_users(users: int) -> None:
    """Sticky users of unequal rates who come back at every step: at most 5 % of 200 rollouts are rolled back."""
    policy = Policy((Step(10), Step(30), Step(60)), GATES[:1])
    plan = Rehearsal(policy, (Rates(0.02, 0.02),), rps=10.0, runs=200, late_s=5.0, crowd=Crowd(users=users))
    assert rehearse(plan).document()["rollbacks"] in range(11)
