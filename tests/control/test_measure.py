"""Measurements: from batches to what a verdict is made of; kept over a restart; each unit once."""

from __future__ import annotations

import json
from typing import Any

from app.control.lifecycle import Event, Progress, apply
from app.control.measure import LOST_S, Measurement, rows
from app.control.policy import Bad, Gate, Policy, Step
from app.control.units import Meeting, Unit

ERRORS = Policy((Step(10, 10), Step(50, 10), Step(100, 10)), (Gate(Bad.ERROR),))
BAD, GOOD = {"error": True}, {"total_s": 0.1}


def batch(epoch: int, *requests: tuple[str, str | None, bool, dict[str, Any] | None], **counts: int) -> dict[str, Any]:
    """A batch of requests: name, unit, arm, and how they ended, None for not yet."""
    return {
        "epoch": epoch,
        "starts": [[name, unit, int(candidate)] for name, unit, candidate, _ in requests],
        "ends": [[name, result] for name, _, _, result in requests if result is not None],
        "answered": 0,
        "skipped": 0,
        **counts,
    }


def block(epoch: int, number: int, bad: int = 0, *, size: int = 20, candidates: int = 10) -> dict[str, Any]:
    """A batch that fills one block; the first `bad` ones of the candidate fail."""
    found = []
    for index in range(size):
        candidate = index < candidates
        found.append((f"r{number}-{index}", None, candidate, BAD if candidate and index < bad else GOOD))
    return batch(epoch, *found, answered=candidates)


def running(policy: Policy = ERRORS, horizon: float = 30.0, **options: Any) -> tuple[Measurement, Progress]:
    """A measurement that follows a rollout at its first step."""
    progress = apply(policy, Progress(), Event.START, "")
    measurement = Measurement(policy, horizon, **options)
    assert measurement.follow(progress, 10.0)
    return measurement, progress


def test_a_block_is_counted_when_it_is_complete() -> None:
    """Units of both arms and what went wrong; requests that the candidate answered."""
    measurement, _ = running()
    assert measurement.take(block(1, 1, bad=3), 0.0)
    seen = measurement.look(0.0)
    assert (seen.candidate_requests, seen.stable_units, seen.candidate_units) == (10, 10, 10)
    [report] = seen.gates
    assert (report.seen.candidate_bad, report.seen.stable_bad) == (3, 0)
    assert report.evidence > 1


def test_a_request_of_which_nobody_tells_is_no_success() -> None:
    """Its block waits for it, then goes on without it: it counts neither as good nor as bad."""
    measurement, _ = running()
    lost = [(f"r{index}", None, index < 10, None if index < 5 else GOOD) for index in range(20)]
    measurement.take(batch(1, *lost), 0.0)
    assert measurement.look(30.0 + LOST_S - 1).candidate_units == 0
    seen = measurement.look(30.0 + LOST_S)
    assert (seen.candidate_units, seen.stable_units) == (5, 10)


def test_a_step_counts_anew_and_the_evidence_goes_on() -> None:
    """What belongs to the weight before is evidence, and no unit of the new step."""
    measurement, progress = running()
    measurement.take(block(1, 1, bad=3), 0.0)
    before = measurement.look(0.0).gates[0]
    progress = apply(ERRORS, progress, Event.PASSED, "")
    assert not measurement.follow(progress, 50.0)
    measurement.take(block(1, 2, bad=3), 1.0)
    seen = measurement.look(1.0)
    assert (seen.candidate_requests, seen.candidate_units) == (0, 0)
    assert seen.gates[0].seen.candidate == 20
    assert seen.gates[0].evidence > before.evidence
    measurement.take(block(2, 3), 2.0)
    assert measurement.look(2.0).candidate_units == 10


def test_a_weight_that_is_not_known_yet_waits() -> None:
    """The batch is taken when the rollout is seen to be there."""
    measurement, progress = running()
    assert not measurement.take(block(2, 1), 0.0)
    measurement.follow(apply(ERRORS, progress, Event.PASSED, ""), 50.0)
    assert measurement.take(block(2, 1), 0.0)


def test_new_evidence_begins_at_nothing() -> None:
    """A person who resumes after an alarm overrules what was seen; stragglers of before do not come back."""
    measurement, progress = running()
    measurement.take(block(1, 1, bad=10), 0.0)
    assert measurement.look(0.0).gates[0].alarm
    progress = apply(ERRORS, progress, Event.STOPPED, "", alarm=True)
    progress = apply(ERRORS, progress, Event.SET_WEIGHT, "", hand_weight=5.0)
    measurement.follow(progress, 5.0)
    progress = apply(ERRORS, progress, Event.RESUME, "")
    assert measurement.follow(progress, 10.0)
    measurement.take(block(1, 2, bad=10), 1.0)
    report = measurement.look(1.0).gates[0]
    assert (report.evidence, report.seen.candidate) == (1.0, 0)


def users(epoch: int, *names: str, candidate: bool) -> dict[str, Any]:
    """A request of each of these users."""
    return batch(epoch, *((f"{epoch}-{name}", name, candidate, GOOD) for name in names))


def test_a_sticky_unit_is_observed_once_a_weight() -> None:
    """However many workers tell of it; who was the candidate's is not observed again."""
    measurement, progress = running()
    names = [f"u{index}" for index in range(20)]
    for candidate, some in ((True, names[:5]), (False, names[5:])):
        measurement.take(users(1, *some, candidate=candidate), 0.0)
        measurement.take(users(1, *some, candidate=candidate), 0.0)
    seen = measurement.look(0.0)
    assert (seen.candidate_units, seen.stable_units) == (5, 15)
    assert measurement.news.units["u0"] == Unit(1, 10.0, 2, 0.0, candidate=True)
    measurement.follow(apply(ERRORS, progress, Event.PASSED, ""), 50.0)
    measurement.take(users(2, *names[:10], candidate=True), 1.0)
    measurement.take(users(2, *names[10:], *(f"v{index}" for index in range(10)), candidate=False), 1.0)
    seen = measurement.look(100.0)
    assert (seen.candidate_units, seen.stable_units) == (5, 20)


def test_a_restart_forgets_nothing_that_counts() -> None:
    """Evidence, units and the step's counts come back, through JSON; what was open is observed no further."""
    measurement, progress = running(Policy(ERRORS.steps, (Gate(Bad.ERROR), Gate(Bad.SLOW_TOTAL, quantile=0.9))))
    policy = Policy(ERRORS.steps, (Gate(Bad.ERROR), Gate(Bad.SLOW_TOTAL, quantile=0.9)))
    for number in range(30):
        measurement.take(block(1, number, bad=1), 0.0)
    measurement.take(users(1, "u", candidate=True), 0.0)
    before = measurement.look(0.0)
    state = json.loads(json.dumps(measurement.state()))
    again = Measurement(policy, 30.0)
    again.restore(state, progress, rows(measurement.news.units))
    assert not again.follow(progress, 10.0)
    assert again.look(0.0) == before
    again.take(users(1, "u", candidate=True), 1.0)
    assert again._units["u"].requests == 2
    other = Measurement(policy, 30.0)
    other.restore({**state, "attempt": 7}, progress, rows(measurement.news.units))
    assert other.follow(progress, 10.0)
    assert other.look(0.0).gates[0].seen.candidate == 0
    assert "u" in other._units


SCORED = Policy(ERRORS.steps, (Gate(Bad.ERROR), Gate(Bad.LOW_QUALITY, below=0.5)))


def test_scores_are_evidence_of_their_gate_alone() -> None:
    """One per unit and weight; answers that were not scored say nothing."""
    measurement, _ = running(SCORED, heeds_scores=True)
    measurement.take(block(1, 1), 0.0)
    assert [answer["request_id"] for answer in measurement.news.answers][:2] == ["r1-0", "r1-1"]
    for index in range(20):
        for _ in range(2):
            meeting = Meeting(f"r1-{index}", 1)
            measurement.score(f"r1-{index}", meeting, 0.2 if index < 10 else 0.8, 1.0, candidate=index < 10)
    seen = measurement.look(1.0)
    errors, quality = seen.gates
    assert (errors.seen.candidate, errors.seen.candidate_bad) == (10, 0)
    assert (quality.seen.candidate, quality.seen.candidate_bad) == (10, 10)
    assert (quality.seen.stable, quality.seen.stable_bad) == (10, 0)
    assert quality.alarm
