"""Verdicts: what measurements call for, an alarm before everything, too little data never taken for good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.control.analysis import Report
from app.control.evariable import Counts
from app.control.lifecycle import Event, Progress, State
from app.control.policy import Bad, Gate, OnFailure, Policy, Step
from app.control.verdict import Action, Measured, Verdict, event_of, judge

POLICY = Policy((Step(10, 60.0, 100, 600.0), Step(50, 60.0, 100, 600.0), Step(100, 60.0)), (Gate(Bad.ERROR),))
QUIET = Report(Bad.ERROR, 0.5, 1.5, 20.0, Counts(900, 9, 100, 1))
LOUD = replace(QUIET, evidence=3.0, peak=25.0)
ENOUGH = Measured(100, 900, 100, (QUIET,))
HELD = Progress(State.RUNNING, 0, 60.0)


def action(progress: Progress = HELD, measured: Measured = ENOUGH, policy: Policy = POLICY) -> Action:
    """The verdict's action."""
    return judge(policy, progress, measured).action


def test_a_held_step_without_alarm_is_passed() -> None:
    """To the next one, and after the last to promotion."""
    assert action() is Action.ADVANCE
    assert (
        action(Progress(State.RUNNING, 2, 60.0), replace(ENOUGH, candidate_requests=200, stable_units=0))
        is Action.PROMOTE
    )


def test_a_step_is_held_for_its_time() -> None:
    """Not a second less."""
    assert action(Progress(State.RUNNING, 0, 59.9)) is Action.HOLD


@pytest.mark.parametrize("state", [State.RUNNING, State.READY, State.PAUSED])
@pytest.mark.parametrize("held", [0.0, 60.0, 6000.0])
def test_an_alarm_rolls_back_at_any_time(state: State, held: float) -> None:
    """In every active state, with however little data; the peak counts, not what the evidence fell back to."""
    verdict = judge(POLICY, Progress(state, 0, held), Measured(1, 1, 1, (LOUD,)))
    assert (verdict.action, verdict.alarm) == (Action.ROLLBACK, True)
    assert "error: evidence 25 reached 20 (candidate 1 of 100 bad, stable 9 of 900)" in verdict.reason


def test_an_alarm_may_pause_instead() -> None:
    """Where the policy says so; once paused by it, nothing more happens."""
    policy = replace(POLICY, on_failure=OnFailure.PAUSE)
    verdict = judge(policy, HELD, Measured(1, 1, 1, (LOUD,)))
    assert (verdict.action, verdict.alarm) == (Action.PAUSE, True)
    assert action(Progress(State.PAUSED, alarmed=True), Measured(1, 1, 1, (LOUD,)), policy) is Action.HOLD


@pytest.mark.parametrize("state", [State.IDLE, State.PROMOTED, State.ROLLED_BACK])
def test_nothing_happens_to_what_is_over(state: State) -> None:
    """Late alarms included."""
    assert action(Progress(state), Measured(1, 1, 1, (LOUD,))) is Action.HOLD


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        (replace(ENOUGH, candidate_requests=99), "99 of 100 requests"),
        (replace(ENOUGH, candidate_units=19), "units observed in the candidate"),
        (replace(ENOUGH, stable_units=0), "units observed in stable"),
        (Measured(0, 0, 0, (QUIET,)), "0 of 100 requests"),
    ],
)
def test_too_little_data_waits_then_pauses(measured: Measured, word: str) -> None:
    """No traffic, all traffic from one user, stable without traffic: inconclusive."""
    waiting = judge(POLICY, HELD, measured)
    tired = judge(POLICY, replace(HELD, held_s=600.0), measured)
    assert (waiting.action, tired.action, tired.alarm) == (Action.HOLD, Action.PAUSE, False)
    assert word in waiting.reason
    assert "inconclusive" in tired.reason


def test_a_proof_is_needed_before_stable_is_gone() -> None:
    """Before a step of 100 %, where nothing can be compared any more; earlier steps do not ask."""
    unproved = replace(ENOUGH, gates=(replace(QUIET, proved=False),))
    assert action(measured=unproved) is Action.ADVANCE
    at_half = Progress(State.RUNNING, 1, 60.0)
    assert "margin: error" in judge(POLICY, at_half, unproved).reason
    assert action(at_half, unproved) is Action.HOLD
    assert action(replace(at_half, held_s=600.0), unproved) is Action.PAUSE
    assert action(at_half, replace(ENOUGH, gates=(replace(QUIET, proved=True),))) is Action.ADVANCE


@pytest.mark.parametrize(
    ("act", "auto", "event"),
    [
        (Action.HOLD, True, None),
        (Action.ADVANCE, True, Event.PASSED),
        (Action.PROMOTE, True, Event.PASSED),
        (Action.ADVANCE, False, Event.AWAITS),
        (Action.PROMOTE, False, Event.AWAITS),
        (Action.PAUSE, False, Event.STOPPED),
        (Action.ROLLBACK, False, Event.FAILED),
    ],
)
def test_verdicts_become_events(act: Action, auto: bool, event: Event | None) -> None:  # noqa: FBT001 - a table's column
    """In mode manual a person moves forward; a failure acts by itself in both modes."""
    assert event_of(replace(POLICY, auto=auto), Verdict(act, "why")) is event
