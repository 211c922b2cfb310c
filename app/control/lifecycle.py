"""The states of a rollout and what leads from one to another, as a table.

Pure. One `Progress` is the whole state of a rollout beside its evidence; a controller stores it with compare-and-swap
on `revision`, so a transition happens once or not at all, and derives the weight from it, so weight and state cannot
differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from app.control.policy import Policy


class State(StrEnum):
    """Where a rollout is. In idle, promoted and rolled_back nothing is measured and a new rollout may start."""

    IDLE = "idle"
    RUNNING = "running"
    READY = "ready"  # the step is passed; a person decides (mode manual)
    PAUSED = "paused"  # the weight stays; alarms are still heeded
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


class Event(StrEnum):
    """What happens to a rollout: the first four come from the controller, the others from a person."""

    PASSED = "passed"
    AWAITS = "awaits"
    STOPPED = "stopped"
    FAILED = "failed"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ABORT = "abort"
    SET_WEIGHT = "set_weight"


@dataclass(frozen=True, slots=True)
class Move:
    """Where an event leads. `step`: 0 first, +1 next (past the last one: promoted), None as it was."""

    to: State
    step: int | None = None


ACTIVE = (State.RUNNING, State.READY, State.PAUSED)
OVER = (State.IDLE, State.PROMOTED, State.ROLLED_BACK)

TABLE: dict[tuple[State, Event], Move] = {
    **{(state, Event.START): Move(State.RUNNING, 0) for state in OVER},
    **{(state, Event.ADVANCE): Move(State.RUNNING, 1) for state in ACTIVE},
    **{(state, Event.PROMOTE): Move(State.PROMOTED) for state in ACTIVE},
    **{(state, Event.ABORT): Move(State.ROLLED_BACK) for state in ACTIVE},
    **{(state, Event.SET_WEIGHT): Move(State.PAUSED) for state in ACTIVE},
    **{(state, Event.FAILED): Move(State.ROLLED_BACK) for state in ACTIVE},
    (State.RUNNING, Event.PASSED): Move(State.RUNNING, 1),
    (State.RUNNING, Event.AWAITS): Move(State.READY),
    (State.RUNNING, Event.STOPPED): Move(State.PAUSED),
    (State.READY, Event.STOPPED): Move(State.PAUSED),
    (State.PAUSED, Event.STOPPED): Move(State.PAUSED),
    (State.RUNNING, Event.PAUSE): Move(State.PAUSED),
    (State.READY, Event.PAUSE): Move(State.PAUSED),
    (State.PAUSED, Event.RESUME): Move(State.RUNNING),
}
"""Every transition there is; any other event is refused and changes nothing."""


class Refused(ValueError):
    """An event that the rollout's state does not allow."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of one rollout.

    `held_s` counts the seconds of the present step, `hand_weight` overrides the step's weight while paused. `epoch`
    counts changes of weight, `attempt` the times that evidence began anew, `revision` all changes.
    """

    state: State = State.IDLE
    step: int = 0
    held_s: float = 0.0
    hand_weight: float | None = None
    alarmed: bool = False
    reason: str = ""
    epoch: int = 0
    attempt: int = 0
    revision: int = 0


def weight(policy: Policy, progress: Progress) -> float:
    """Percent of the traffic that goes to the candidate."""
    match progress.state:
        case State.PROMOTED:
            return 100.0
        case State.IDLE | State.ROLLED_BACK:
            return 0.0
        case _:
            return policy.steps[progress.step].weight if progress.hand_weight is None else progress.hand_weight


def tick(progress: Progress, seconds: float, longest: float) -> Progress:
    """Time passes in a running step: at most `longest` seconds at once, never backwards, whatever the clock says."""
    if progress.state is not State.RUNNING:
        return progress
    return replace(progress, held_s=progress.held_s + min(max(seconds, 0.0), longest))


def apply(
    policy: Policy,
    progress: Progress,
    event: Event,
    reason: str,
    *,
    alarm: bool = False,
    hand_weight: float | None = None,
) -> Progress:
    """The rollout after an event. Errors: Refused, with the state's name, where the table has no such transition.

    `alarm` goes with a stop that was caused by evidence. Resuming or advancing after that starts new evidence, for a
    person has overruled the old; so does every start. The chance of a false alarm is at most α for each.
    """
    move = TABLE.get((progress.state, event))
    if move is None:
        raise Refused(f"{event} is not possible while the rollout is {progress.state}")
    if (hand_weight is not None) != (event is Event.SET_WEIGHT) or not 0 <= (hand_weight or 0.0) <= 100:
        raise Refused("set_weight needs a weight between 0 and 100, nothing else takes one")
    step = {None: progress.step, 0: 0, 1: progress.step + 1}[move.step]
    to, step = (State.PROMOTED, progress.step) if step == len(policy.steps) else (move.to, step)
    stays = to in (State.PAUSED, State.READY)
    fresh = to is State.RUNNING and (event is Event.START or progress.alarmed)
    after = Progress(
        state=to,
        step=step,
        held_s=progress.held_s if stays else 0.0,
        hand_weight=(progress.hand_weight if hand_weight is None else hand_weight) if stays else None,
        alarmed=alarm or (progress.alarmed and stays),
        reason=reason,
        epoch=progress.epoch,
        attempt=progress.attempt + fresh,
        revision=progress.revision + 1,
    )
    return after if weight(policy, after) == weight(policy, progress) else replace(after, epoch=after.epoch + 1)
