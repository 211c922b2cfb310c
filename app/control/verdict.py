"""What the measurements of a rollout call for: hold, advance, promote, roll back or pause. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.control.analysis import Report
from app.control.lifecycle import ACTIVE, Event, Progress, State
from app.control.policy import OnFailure, Policy


class Action(StrEnum):
    """What the measurements call for."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known in the present step: requests that the candidate answered, units observed per arm, the gates."""

    candidate_requests: int
    stable_units: int
    candidate_units: int
    gates: Sequence[Report]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An action and why, in words for the decision log. `alarm` tells a pause on failure from an inconclusive one."""

    action: Action
    reason: str
    alarm: bool = False


def judge(policy: Policy, progress: Progress, measured: Measured) -> Verdict:
    """What the measurements call for. An alarm comes before everything else; too little data never counts as good."""
    if progress.state not in ACTIVE or progress.alarmed:
        return Verdict(Action.HOLD, f"the rollout is {progress.state}")
    alarms = [report for report in measured.gates if report.alarm]
    if alarms:
        action = Action.ROLLBACK if policy.on_failure is OnFailure.ROLLBACK else Action.PAUSE
        return Verdict(action, "; ".join(map(_alarm, alarms)), alarm=True)
    if progress.state is not State.RUNNING:
        return Verdict(Action.HOLD, f"the rollout is {progress.state}")
    step = policy.steps[progress.step]
    if progress.held_s < step.hold_s:
        return Verdict(Action.HOLD, f"held {progress.held_s:.0f} s of {step.hold_s:.0f} s")
    missing = _missing(policy, progress, measured)
    if missing:
        action = Action.HOLD if progress.held_s < step.patience_s else Action.PAUSE
        return Verdict(action, f"inconclusive: {missing}")
    last = progress.step + 1 == len(policy.steps)
    return Verdict(Action.PROMOTE if last else Action.ADVANCE, f"no alarm in {progress.held_s:.0f} s")


def event_of(policy: Policy, verdict: Verdict) -> Event | None:
    """The event that a verdict makes of itself; None for hold. In mode manual only a person moves a rollout forward."""
    match verdict.action:
        case Action.HOLD:
            return None
        case Action.ADVANCE | Action.PROMOTE:
            return Event.PASSED if policy.auto else Event.AWAITS
        case Action.PAUSE:
            return Event.STOPPED
        case Action.ROLLBACK:
            return Event.FAILED


def _missing(policy: Policy, progress: Progress, measured: Measured) -> str:
    """What stands between a step that was held and the next one; empty if nothing."""
    step = policy.steps[progress.step]
    if measured.candidate_requests < step.min_requests:
        return f"{measured.candidate_requests} of {step.min_requests} requests of the candidate"
    if measured.candidate_units < policy.min_units:
        return f"{measured.candidate_units} of {policy.min_units} units observed in the candidate"
    if step.weight < 100 and measured.stable_units < policy.min_units:
        return f"{measured.stable_units} of {policy.min_units} units observed in stable"
    onward = policy.steps[progress.step + 1 :]
    unproved = [report.gate for report in measured.gates if report.proved is False]
    if unproved and (not onward or onward[0].weight == 100):
        return f"not yet shown to be within the margin: {', '.join(unproved)}"
    return ""


def _alarm(report: Report) -> str:
    seen = report.seen
    return (
        f"{report.gate}: evidence {report.peak:.3g} reached {report.needed:.3g}"
        f" (candidate {seen.candidate_bad} of {seen.candidate} bad, stable {seen.stable_bad} of {seen.stable})"
    )
