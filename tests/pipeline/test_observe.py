"""What a rollout learns of a request: who is observed, what counts against the arm, and what says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import INVALID_REQUEST, UPSTREAM_ERROR, GatewayError, Outcome
from app.exchange import Event, Operation, Result
from app.pipeline.observe import NOTHING, Observer, judged, so_far
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.report import Hit, Report
from app.table import Live, Table, Watch, with_rollouts
from tests.pipeline.parts import call, table

WATCH = Watch("chat", 3, 60.0, reads=True)


class Told:
    """Notes that remember what they were told; `observe` is their answer."""

    def __init__(self, *, observe: bool = True) -> None:
        self.observe = observe
        self.starts: list[tuple[Watch, str, float | None, bool]] = []
        self.ends: list[tuple[Watch, Result, bool, bool]] = []
        self.peek: Callable[[], Result] = Result

    def started(
        self, watch: Watch, request_id: str, unit: float | None, peek: Callable[[], Result], *, candidate: bool
    ) -> bool:
        """A request is about to be sent."""
        self.starts.append((watch, request_id, unit, candidate))
        self.peek = peek
        return self.observe

    def ended(self, watch: Watch, request_id: str, result: Result, *, candidate: bool, observed: bool) -> None:
        """It has ended."""
        self.ends.append((watch, result, candidate, observed))


def rolling(watch: Watch = WATCH, *, active: bool = True) -> Table:
    """The table of a model whose candidate `two` has half of the traffic."""
    live = Live("one", "two", 50.0, "user", 1, active, watch)
    return with_rollouts(table({"models[0].candidate": "two", "models[0].weight": 5}), {"chat": live})


def planned(built: Table, *, candidate: bool = True, place: float | None = None) -> Plan:
    """The plan of a request of either arm."""
    model = built.models["chat"]
    assert model.split is not None
    return Plan(model.split.choices if candidate else model.choices, model.split, place)


def request(plan: Plan, served: int | None = 0, **fields: Any) -> Progress:
    """A request under way; `served` is the choice that was called last."""
    progress = Progress("req_1", Operation.CHAT)
    progress.call = call(**fields)
    progress.plan = plan
    if served is not None:
        progress.arm, progress.deployment = plan.choices[served]
    return progress


def test_without_a_rollout_nobody_is_told() -> None:
    """No candidate, a candidate whose weight nobody moves, a rollout that is over, a pinned request."""
    told = Told()
    plain = table().models["chat"]
    weighted = table({"models[0].candidate": "two", "models[0].weight": 50})
    plans = [Plan(plain.choices), planned(weighted), planned(rolling(active=False)), Plan(plain.choices, None)]
    for plan in plans:
        progress = request(plan)
        Observer(told).begin(progress, plan)
        Observer(told).end(progress)
    assert (told.starts, told.ends) == ([], [])


@pytest.mark.parametrize("candidate", [True, False])
def test_both_arms_are_told(candidate: bool) -> None:  # noqa: FBT001 - a test's parameter
    """With the unit's place, where there is one, and the rollout's epoch."""
    told, plan = Told(), planned(rolling(), candidate=candidate, place=0.25)
    progress = request(plan)
    Observer(told).begin(progress, plan)
    progress.outcome, progress.status = Outcome.OK, 200
    Observer(told).end(progress)
    assert told.starts == [(WATCH, "req_1", 0.25, candidate)]
    [(watch, result, arm, observed)] = told.ends
    assert (watch, result.error, result.void, arm, observed) == (WATCH, False, False, candidate, True)


def test_who_is_not_observed_is_counted_for_the_candidate_only() -> None:
    """`min_requests` are all that it answered."""
    for candidate, void in ((True, False), (False, True)):
        told, plan = Told(observe=False), planned(rolling(), candidate=candidate)
        progress = request(plan)
        Observer(told).begin(progress, plan)
        assert progress.transcript is None
        progress.outcome, progress.status = Outcome.OK, 200
        Observer(told).end(progress)
        [(_, result, _, observed)] = told.ends
        assert (result.void, observed) == (void, False)


def ended(outcome: Outcome, *, served: int = 0, status: int = 0, error: GatewayError | None = None) -> Result:
    """The judgement on a request that ended so."""
    progress = request(planned(rolling()), served)
    progress.outcome, progress.status, progress.error = outcome, status, error
    return judged(progress)


@pytest.mark.parametrize(
    ("outcome", "bad"),
    [
        (Outcome.OK, False),
        (Outcome.UPSTREAM_ERROR, True),
        (Outcome.UPSTREAM_TIMEOUT, True),
        (Outcome.INTERNAL_ERROR, True),
        (Outcome.CUT_GUARD, False),
    ],
)
def test_what_counts_against_the_arm(outcome: Outcome, bad: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Its own failures; a guard's cut is harm, and no error."""
    result = ended(outcome, status=200)
    assert (result.error, result.void, result.harm) == (bad, False, outcome is Outcome.CUT_GUARD)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_failure_that_a_fallback_hid_counts_all_the_same(outcome: Outcome) -> None:
    """However the fallback fared."""
    assert ended(outcome, served=1, status=200).error


@pytest.mark.parametrize(
    "outcome", [Outcome.OVERLOADED, Outcome.REFUSED_LIMIT, Outcome.REFUSED_BUDGET, Outcome.REFUSED_GUARD]
)
def test_what_the_gateway_did_says_nothing(outcome: Outcome) -> None:
    """A shutdown, a limit, a budget, a guard before the call."""
    assert ended(outcome) is NOTHING


def test_an_upstreams_own_refusal() -> None:
    """400: the request was at fault, nobody counts it. 404: the deployment does not know its own model."""

    def refused(status: int) -> Result:
        error = GatewayError(INVALID_REQUEST, "no", status=status, outcome=Outcome.UPSTREAM_REJECTED)
        return ended(Outcome.UPSTREAM_REJECTED, error=error)

    assert refused(400).void
    assert refused(404).error
    limited = GatewayError(UPSTREAM_ERROR, "429", status=429, outcome=Outcome.UPSTREAM_ERROR)
    assert ended(Outcome.UPSTREAM_ERROR, error=limited).error


def test_a_caller_that_leaves() -> None:
    """Before anything has come: it gave up on the arm. Later: it has seen enough, and no more is known."""
    early, late = ended(Outcome.CLIENT_CLOSED), ended(Outcome.CLIENT_CLOSED, status=200)
    assert (early.error, early.left) == (True, True)
    assert (late.error, late.left) == (False, True)


def test_a_request_that_is_still_running() -> None:
    """Nothing has come: that is a failure by now. Something has: not so far. Another deployment was asked: failed."""
    plan = planned(rolling())
    waiting, begun, rescued = request(plan), request(plan), request(plan, 1)
    begun.status = rescued.status = 200
    assert [(one.error, one.left) for one in map(so_far, (waiting, begun, rescued))] == [
        (True, True),
        (False, True),
        (True, True),
    ]


def test_what_the_answer_says() -> None:
    """Refusal, length and format are read from the answer; cost and times from the record."""
    told, plan = Told(), planned(rolling())
    progress = request(plan, response_format={"type": "json_object"}, stream=True)
    Observer(told).begin(progress, plan)
    doc = {"choices": [{"delta": {"content": "I'm sorry, but I can't."}, "finish_reason": "length"}]}
    progress.see([Event(b"", doc)])
    progress.outcome, progress.status, progress.first_at = Outcome.OK, 200, progress.began + 0.5
    Observer(told).end(progress)
    [(_, result, _, _)] = told.ends
    assert (result.refused, result.truncated, result.format_ok, result.streamed) == (True, True, False, True)
    assert result.first_token_s == pytest.approx(0.5)
    assert result.total_s > 0
    quiet = Told()
    plan = planned(rolling(Watch("chat", 3, 60.0, reads=False)))
    progress = request(plan)
    Observer(quiet).begin(progress, plan)
    assert progress.transcript is None


@pytest.mark.parametrize(("stage", "harm"), [("completion", True), ("prompt", False)])
def test_a_guards_hit_in_the_completion_is_harm(stage: str, harm: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Whatever its action; one in the prompt is the caller's."""
    progress = request(planned(rolling()))
    progress.outcome, progress.status, progress.report = Outcome.OK, 200, Report("default")
    progress.report.add(Hit(stage, "violence", 4, "annotate", "rules"))
    assert judged(progress).harm is harm
