"""Stage 7: take the upper bound of what the request can cost from every budget and limit that it is held to.

What is entered here settles itself when it is left, however it is left (`reservation`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType

from app.exchange import Call, Count
from app.metering import LARGEST, MOST, Verdict
from app.pipeline.bound import output_cap, prompt_bound
from app.pipeline.plan import Plan
from app.pipeline.progress import RESERVE, Progress
from app.pipeline.reservation import Bound, Reservation, Store, Ticket, tell_rates
from app.scopes import Terms
from app.table import Table

Settle = Callable[[Progress], None]
"""Works out what a request is charged, from what is known of it at its end."""


class Unlimited:
    """Stands where nothing limits a request: it is settled all the same."""

    __slots__ = ("_call", "_progress", "_settle")

    def __init__(self, call: Call, progress: Progress, settle: Settle) -> None:
        self._call = call
        self._progress = progress
        self._settle = settle

    def __enter__(self) -> Call:
        return self._call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle(self._progress)


class Held(Reservation):
    """The reservation of a request on its path."""

    __slots__ = ("_call", "_progress", "_settle")

    def __init__(
        self, store: Store, terms: Terms, call: Call, plan: Plan, progress: Progress, settle: Settle
    ) -> None:  # fmt: skip
        # Not super(): that takes 0.15 µs.
        bound = bound_of(call, plan, progress.prompt)
        Reservation.__init__(self, store, progress.request_id, terms.reserve, bound, terms.policy)
        self._call = call
        self._progress = progress
        self._settle = settle

    def taken(self, verdict: Verdict) -> None:
        """Take note of the store's answer, on the request too. Raises GatewayError where it is no."""
        progress = self._progress
        if self._allowances.limits:
            tell_rates(progress, self._allowances, verdict.left)
        Reservation.taken(self, verdict)
        progress.held, progress.reserved = self, self._bound.tokens
        progress.mark(RESERVE)
        if self.clamped:
            cap = self.bound.output_cap
            progress.clamped = cap
            progress.call = self._call = self._call._replace(max_output_tokens=cap)

    def __enter__(self) -> Call:
        return self._call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._settle(self._progress)
            spent = self._progress.charge
            self._spent = spent if spent.tokens < LARGEST and spent.nano_usd < LARGEST else spent.within(MOST)
        finally:
            self._progress.held = None  # it refers back to here
            self._store.settle(self._id, self.charge())


class Reserver:
    """Opens what a request needs to hold."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, progress: Progress, table: Table) -> Ticket | nullcontext[None]:
        """A place within the limits on requests, where a guard will look at the prompt before anything is reserved.

        To be entered at once. Raises GatewayError where there is none.
        """
        progress.terms = terms = _terms(progress, table)
        if terms is None or not terms.admit.limits:
            return _ADMITTED
        ticket = Ticket(self._store, f"{progress.request_id}/t", terms.admit, terms.policy.on_store_failure, progress)
        return ticket if ticket.at_once() else await ticket.take()

    async def reserve(
        self, call: Call, plan: Plan, progress: Progress, table: Table, settle: Settle
    ) -> Held | Unlimited:  # fmt: skip
        """The bound of a call, in every budget and limit that it is held to; to be entered at once.

        Entering gives the call that fits; `settle` runs when it is left. Raises GatewayError where it does not fit.
        """
        terms = progress.terms or _terms(progress, table)
        if terms is None or terms.free:
            return Unlimited(call, progress, settle)
        held = Held(self._store, terms, call, plan, progress, settle)
        return held if held.at_once() else await held.take()


_ADMITTED = nullcontext(None)


def _terms(progress: Progress, table: Table) -> Terms | None:
    who, call = progress.principal, progress.call
    if table.scopes.nothing or who is None or call is None:
        return None
    return table.scopes.of(who.tenant, who.key, call.model)


def bound_of(call: Call, plan: Plan, known: Count | None = None) -> Bound:
    """What one attempt at any deployment of the plan can cost at most; `known` is what the stage `fit` found out."""
    choices = plan.choices
    if len(choices) == 1:
        one = choices[0][1]
        return Bound(prompt_bound(call, one, known), output_cap(call, one), call.choices, (one.price,), call.images)
    prompt = max(prompt_bound(call, deployment, known) for _, deployment in choices)
    cap = max(output_cap(call, deployment) for _, deployment in choices)
    return Bound(prompt, cap, call.choices, tuple(deployment.price for _, deployment in choices), call.images)
