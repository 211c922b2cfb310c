"""The states of a rollout as a state machine: whatever happens in whatever order, what must hold holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.control.lifecycle import ACTIVE, TABLE, Event, Progress, Refused, State, apply, tick, weight
from app.control.policy import Bad, Gate, Policy, Step

POLICY = Policy((Step(1), Step(25), Step(100)), (Gate(Bad.ERROR),))
FROM_CONTROLLER = (Event.PASSED, Event.AWAITS, Event.STOPPED, Event.FAILED)


def run(*events: Event) -> Progress:
    """The rollout after these events."""
    progress = Progress()
    for event in events:
        progress = apply(POLICY, progress, event, "test", hand_weight=7.0 if event is Event.SET_WEIGHT else None)
    return progress


class Rollout(RuleBasedStateMachine):
    """Every event at every time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.now = Progress()

    @rule(event=st.sampled_from(Event), alarm=st.booleans(), hand=st.floats(0, 100))
    def event(self, event: Event, alarm: bool, hand: float) -> None:  # noqa: FBT001 - drawn by hypothesis
        """Allowed ones change the rollout by one revision; others change nothing."""
        self.before = self.now
        alarm = alarm and event in (Event.STOPPED, Event.FAILED)
        hand_weight = hand if event is Event.SET_WEIGHT else None
        try:
            self.now = apply(POLICY, self.now, event, "why", alarm=alarm, hand_weight=hand_weight)
        except Refused:
            assert (self.now.state, event) not in TABLE
            return
        assert (self.before.state, event) in TABLE
        assert self.now.revision == self.before.revision + 1
        changed = weight(POLICY, self.now) != weight(POLICY, self.before)
        assert self.now.epoch == self.before.epoch + changed
        if event in FROM_CONTROLLER and event is not Event.FAILED:
            assert weight(POLICY, self.now) >= weight(POLICY, self.before)
        if event in (Event.FAILED, Event.ABORT):
            assert weight(POLICY, self.now) == 0

    @rule(seconds=st.floats(-100, 1000))
    def time(self, seconds: float) -> None:
        """Held time only ever rises, by no more than a tick, and only while running."""
        before, self.now = self.now, tick(self.now, seconds, 10.0)
        assert before.held_s <= self.now.held_s <= before.held_s + 10.0
        assert before.state is State.RUNNING or self.now == before

    @invariant()
    def is_sound(self) -> None:
        """A weight that fits the state, a step that exists, a hand-set weight only while nothing moves by itself."""
        now = self.now
        share = weight(POLICY, now)
        assert 0 <= share <= 100
        assert now.step in range(len(POLICY.steps))
        if now.state in (State.IDLE, State.ROLLED_BACK):
            assert share == 0
        if now.state is State.PROMOTED:
            assert share == 100
        if now.state is State.RUNNING:
            assert share == POLICY.steps[now.step].weight
            assert now.hand_weight is None
            assert not now.alarmed

    @invariant()
    def can_be_ended(self) -> None:
        """From every active state a person can abort, and from every other one a new rollout can start."""
        assert (self.now.state, Event.ABORT if self.now.state in ACTIVE else Event.START) in TABLE


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_good_candidate_passes_every_step() -> None:
    """1, 25, 100 per cent, then promoted."""
    progress = run(Event.START)
    seen = [weight(POLICY, progress)]
    while progress.state is State.RUNNING:
        progress = apply(POLICY, progress, Event.PASSED, "no alarm")
        seen.append(weight(POLICY, progress))
    assert seen == [1, 25, 100, 100]
    assert progress.state is State.PROMOTED


def test_a_person_leads_a_manual_rollout() -> None:
    """Each passed step waits to be advanced."""
    assert run(Event.START, Event.AWAITS).state is State.READY
    after = run(Event.START, Event.AWAITS, Event.ADVANCE, Event.AWAITS, Event.ADVANCE, Event.AWAITS, Event.ADVANCE)
    assert after.state is State.PROMOTED


def test_a_pause_keeps_the_weight_and_restarts_the_hold() -> None:
    """Resuming begins the step's time again, not the rollout."""
    progress = tick(run(Event.START, Event.PASSED), 5.0, 10.0)
    paused = apply(POLICY, progress, Event.PAUSE, "lunch")
    resumed = apply(POLICY, paused, Event.RESUME, "back")
    assert weight(POLICY, paused) == weight(POLICY, progress) == 25
    assert (paused.held_s, resumed.held_s, resumed.step) == (5.0, 0.0, 1)
    assert resumed.attempt == progress.attempt


def test_a_weight_set_by_hand_holds_until_it_is_resumed() -> None:
    """Nothing moves by itself meanwhile; a second pause or alarm does not lose it."""
    progress = run(Event.START, Event.SET_WEIGHT)
    assert (progress.state, weight(POLICY, progress)) == (State.PAUSED, 7.0)
    assert weight(POLICY, apply(POLICY, progress, Event.STOPPED, "alarm", alarm=True)) == 7.0
    assert weight(POLICY, apply(POLICY, progress, Event.RESUME, "go on")) == 1


def test_overruling_an_alarm_starts_new_evidence() -> None:
    """Resuming after a pause on failure; without an alarm the evidence goes on."""
    stopped = apply(POLICY, run(Event.START), Event.STOPPED, "error", alarm=True)
    assert stopped.alarmed
    again = apply(POLICY, stopped, Event.RESUME, "a false alarm, I say")
    assert (again.alarmed, again.attempt) == (False, 2)
    assert run(Event.START, Event.PAUSE, Event.RESUME).attempt == 1


def test_two_rollouts_at_once_are_refused() -> None:
    """A start while one is active; after its end it is the next attempt."""
    for event in ((), (Event.AWAITS,), (Event.PAUSE,)):
        with pytest.raises(Refused, match="not possible"):
            apply(POLICY, run(Event.START, *event), Event.START, "again")
    assert run(Event.START, Event.ABORT, Event.START).attempt == 2


@pytest.mark.parametrize("hand", [None, -1.0, 101.0])
def test_a_weight_by_hand_must_be_one(hand: float | None) -> None:
    """Between 0 and 100, and only with that event."""
    with pytest.raises(Refused, match="weight"):
        apply(POLICY, run(Event.START), Event.SET_WEIGHT, "x", hand_weight=hand)
    with pytest.raises(Refused, match="weight"):
        apply(POLICY, run(Event.START), Event.PAUSE, "x", hand_weight=5.0)


def test_a_clock_that_jumps_moves_nothing() -> None:
    """A day forward counts as one tick, backward as none."""
    progress = run(Event.START)
    assert tick(progress, 86_400.0, 2.0).held_s == 2.0
    assert tick(replace(progress, held_s=5.0), -86_400.0, 2.0).held_s == 5.0
