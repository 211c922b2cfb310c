"""What a rollout learns of a request: that it was sent to its arm, and how it ended there. Never waits.

A request counts from the moment at which it is about to be sent: what was refused before was not the arm's doing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Protocol

from app.errors import Outcome
from app.exchange import Result
from app.pipeline.looks import format_ok, refused, truncated
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.transcript import Transcript
from app.table import Watch

NOTHING = Result(void=True)
_FAILED = frozenset({Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT, Outcome.INTERNAL_ERROR})
_VOID = frozenset({Outcome.OVERLOADED, Outcome.REFUSED_LIMIT, Outcome.REFUSED_BUDGET, Outcome.REFUSED_GUARD})
_UNKNOWN = frozenset({404, 405})
"""What an upstream answers when it does not know its own model or path: that is the deployment's fault."""


class Notes(Protocol):
    """Takes observations, without waiting."""

    def started(
        self, watch: Watch, request_id: str, unit: float | None, peek: Callable[[], Result], *, candidate: bool
    ) -> bool:
        """A request is about to be sent; whether it is among those that are observed.

        `unit` is the place of the sticky unit, None where the request is its own. `peek` tells what is known so far.
        """

    def ended(self, watch: Watch, request_id: str, result: Result, *, candidate: bool, observed: bool) -> None:
        """A request that was sent has ended."""


class Observer:
    """Tells the notes of every request that a rollout has assigned."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def begin(self, progress: Progress, plan: Plan) -> None:
        """The request is about to be sent as planned."""
        split = plan.split
        if split is None or split.watch is None:
            return
        progress.plan = plan
        progress.observed = self._notes.started(
            split.watch,
            progress.request_id,
            plan.place,
            partial(so_far, progress),
            candidate=plan.choices is split.choices,
        )
        if progress.observed and split.watch.reads and progress.transcript is None:
            progress.transcript = Transcript()

    def end(self, progress: Progress) -> None:
        """The request has ended and is settled."""
        plan = progress.plan
        if plan is None or plan.split is None or plan.split.watch is None:
            return
        candidate = plan.choices is plan.split.choices
        result = judged(progress) if progress.observed or candidate else NOTHING
        self._notes.ended(
            plan.split.watch, progress.request_id, result, candidate=candidate, observed=progress.observed
        )


def so_far(progress: Progress) -> Result:
    """A request that is still running: one that has brought nothing yet has failed, any other has not ended."""
    if progress.finished or progress.status or _rescued(progress):
        return _result(progress, error=_rescued(progress), left=True)
    return _result(progress, error=True, left=True)


def judged(progress: Progress) -> Result:
    """How a request has ended at the arm that it was assigned to.

    A caller that leaves before anything has come gave up on the arm; later it has merely seen enough.
    """
    outcome = progress.outcome
    if _rescued(progress):
        return _result(progress, error=True)
    if outcome in _VOID:
        return NOTHING
    if outcome is Outcome.UPSTREAM_REJECTED:
        # The upstream's own 4xx: the request was at fault.
        unknown = progress.error is not None and progress.error.status in _UNKNOWN
        return _result(progress, error=True) if unknown else NOTHING
    left = outcome is Outcome.CLIENT_CLOSED
    return _result(progress, error=outcome in _FAILED or (left and not progress.status), left=left)


def _rescued(progress: Progress) -> bool:
    """Whether another deployment was asked, because the arm's own had failed."""
    plan = progress.plan
    return plan is not None and progress.deployment is not None and progress.deployment is not plan.choices[0][1]


def harmed(progress: Progress) -> bool:
    """Whether a guard found something in the completion, whatever came of it."""
    report = progress.report
    found = report is not None and any(hit.stage == "completion" for hit in report.hits)
    return found or progress.outcome is Outcome.CUT_GUARD


def _result(progress: Progress, *, error: bool, left: bool = False) -> Result:
    call, said = progress.call, progress.transcript
    if call is None:
        raise AssertionError("only a call is observed")
    elapsed = perf_counter() - progress.began
    if error:
        return Result(error=True, streamed=call.stream, total_s=elapsed, left=left)
    first = progress.first_at - progress.began if progress.first_at else None
    told = said is not None and not left
    return Result(
        streamed=call.stream,
        first_token_s=first,
        total_s=elapsed,
        left=left,
        harm=harmed(progress),
        refused=said is not None and refused(said),
        truncated=said is not None and truncated(said),
        cost_usd=progress.cost / 1e9,
        format_ok=format_ok(call.body, said) if told and said is not None else None,
    )
