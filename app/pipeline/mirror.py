"""A sampled copy of a request goes to a shadow, once the caller has his answer. Never waits, never fails.

A place for the copy is taken when the request is sent: where there is none, nothing more is done for it.
"""

from __future__ import annotations

from typing import Protocol

from app.errors import Outcome
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.transcript import Transcript
from app.table import Shadow

_COMPARABLE = frozenset({Outcome.OK, Outcome.CUT_GUARD, Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT})
"""How a request may end for its copy to tell something: neither left by its caller nor refused."""


class Copies(Protocol):
    """Sends copies, off the path."""

    def room(self, shadow: Shadow) -> bool:
        """Take a place for a copy; False where there is none, which is counted."""

    def leave(self, shadow: Shadow) -> None:
        """Give a place back that is not needed."""

    def send(self, shadow: Shadow, progress: Progress) -> None:
        """Send the copy of a request that has ended, and give its place back when it has."""


class Mirror:
    """Copies what was drawn for it."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def begin(self, progress: Progress, plan: Plan) -> None:
        """The request is about to be sent as planned."""
        if plan.shadow is not None and self._copies.room(plan.shadow):
            progress.plan, progress.copied = plan, True
            if progress.transcript is None:
                progress.transcript = Transcript()

    def end(self, progress: Progress) -> None:
        """The request has ended and is settled."""
        if not progress.copied or progress.plan is None or progress.plan.shadow is None:
            return
        if progress.outcome in _COMPARABLE and progress.deployment is not progress.plan.shadow.deployment:
            self._copies.send(progress.plan.shadow, progress)
        else:
            self._copies.leave(progress.plan.shadow)
