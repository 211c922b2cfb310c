"""The path of a request, whole: `serve` is the only function that knows the order of the stages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from random import random
from typing import Final, NamedTuple

import orjson

from app.config import Guard
from app.errors import GatewayError
from app.exchange import NO_WISHES, Batch, Call, JsonObject, Operation, Principal, Wishes
from app.pipeline.admit import Admission
from app.pipeline.authenticate import authenticate
from app.pipeline.call import Caller, Outlet
from app.pipeline.fit import Fitter, at_once, rewritten
from app.pipeline.guard import Checked, Guards, check
from app.pipeline.ledger import Ledger
from app.pipeline.mirror import Mirror
from app.pipeline.observe import Observer
from app.pipeline.outgoing import shaped
from app.pipeline.plan import Plan
from app.pipeline.progress import ADMIT, AUTHENTICATE, CALL, FIT, RELAY, SETTLE, VALIDATE, Progress
from app.pipeline.record import Recorder
from app.pipeline.reserve import Reserver
from app.pipeline.route import route
from app.pipeline.settle import charged, settle
from app.pipeline.shorten import Spent, answer_text
from app.pipeline.spans import Tracer
from app.pipeline.validate import validate
from app.table import State, Table

Deliver = Callable[[Batch], Awaitable[None]]
"""Takes the events of an answer to the caller. Raises `GatewayError` where they cannot be told in his shape."""
_SAME_PLACE: Final = nullcontext()
"""What a call on the way of a request takes instead of a place: it is served in that request's own."""


class Arrival(NamedTuple):
    """A request as it stands at the door: its headers, and how to get its body, which nobody has read yet.

    `outlet` is where pieces of a stream may go that are for the caller as they are; None where he gets another shape.
    `understand` is `validate`, or for a caller who speaks another shape what stands before it.
    `within` is the request on whose way a stage makes this one, on the same account; None for a caller's own.
    """

    credentials: tuple[bytes, ...]
    read_body: Callable[[int], Awaitable[bytes]]
    wishes: Wishes = NO_WISHES
    outlet: Outlet | None = None
    understand: Callable[[Operation, bytes], Call] = validate
    within: Progress | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What the stages need beside the request."""

    state: State
    admission: Admission
    fitter: Fitter
    reserver: Reserver
    caller: Caller
    ledger: Ledger
    recorder: Recorder
    observer: Observer
    mirror: Mirror
    tracer: Tracer
    guards: Guards


async def serve(arrival: Arrival, progress: Progress, services: Services, deliver: Deliver) -> None:
    """Deliver an answer's events in batches. Raises `GatewayError`: before the first batch a status, after it an event.

    However a request ends, it is settled and recorded when this returns.
    """
    table, within = services.state.table, arrival.within  # one snapshot: a reload never changes a request under way
    checked = instead = None
    try:
        # First, so that a stranger's body is never read.
        progress.principal = authenticate(table, arrival.credentials) if within is None else _on_account_of(within)
        progress.mark(AUTHENTICATE)
        try:
            raw = await arrival.read_body(table.bounds.max_body_bytes)
        finally:
            progress.resume()
        # Before admission: only a sound request takes a place.
        progress.call = call = shaped(arrival.understand(progress.operation, raw), table)
        progress.mark(VALIDATE)
        # Before routing: under overload, shedding must stay the cheapest thing to do.
        with services.admission if within is None else _SAME_PLACE:
            plan = route(call, progress.principal, table, arrival.wishes, random())  # noqa: S311 - no secret hangs on it
            progress.mark(ADMIT)
            # Before the guard and the reservation: both are about what will be sent.
            if not at_once(call, plan, progress):
                call, plan = await _fit(call, plan, progress, services, table)
            # Before the guard, which costs something: a place within the tenant's limits on requests.
            with await services.reserver.admit(progress, table):
                if (guard := table.models[call.model].guard) is not None:
                    # Before anything is reserved or sent: a prompt that is blocked costs nothing.
                    checked = await _check(guard, call, progress, services, table)
                    call, instead = checked.call, checked.instead
                if not instead and call.operation is Operation.TOKENIZE:
                    instead = await _counted(call, plan, progress, services)
                if instead:  # answered here: nothing is sent, nothing reserved, nothing billed
                    return await deliver(instead)
                if within is None:  # from here on what becomes of the request is the arm's doing
                    services.observer.begin(progress, plan)
                    services.mirror.begin(progress, plan)
                with (
                    # Last before the call: what is reserved is held until the answer has ended. Leaving it settles.
                    await services.reserver.reserve(call, plan, progress, table, charge) as call,
                    # Retries and fallbacks end with the first event: then the caller holds a part of this answer.
                    await services.caller.call(call, plan, progress) as answer,
                ):
                    progress.mark(CALL)
                    # What is held back or cut off was made, and is billed: the guard sees events after they count.
                    source = answer if checked is None else await checked.through(answer)
                    batch = source.first
                    while batch:
                        progress.see(batch, again=source is not answer)
                        await deliver(batch)
                        # What nobody here needs to look at goes from socket to socket (`outlet`), and is no event.
                        outlet = None if progress.transcript is not None else arrival.outlet
                        batch = await source.more(outlet) if call.stream else []
        progress.end()
    except GatewayError as error:
        progress.fail(error)
        raise
    except (asyncio.CancelledError, GeneratorExit) as cancellation:
        progress.cut(cancellation)
        raise
    finally:
        # Last, and without waiting for anything: a request that ended in any way is recorded once.
        close(progress, services)


def close(progress: Progress, services: Services) -> None:
    """Settle and record a request that has ended, whatever became of it."""
    if progress.usage is None:
        charge(progress)  # it never came as far as a reservation, whose end settles
    # The ledger comes first: `durable` is for the caller to await before the answer's last byte.
    progress.durable = services.ledger.close(progress)
    progress.mark(SETTLE)
    services.recorder.record(progress)
    services.observer.end(progress)
    services.mirror.end(progress)


async def _fit(call: Call, plan: Plan, progress: Progress, services: Services, table: Table) -> tuple[Call, Plan]:
    """Make a call fit that does not fit at once, or refuse it."""
    inner = Inner(services, progress, table)
    return await services.fitter.fit(call, plan, table.models[call.model], progress, inner)


async def _check(guard: Guard, call: Call, progress: Progress, services: Services, table: Table) -> Checked:
    """Look at the prompt, with what detectors need that are models of this gateway."""
    if progress.principal is None:
        raise AssertionError("a request is looked at for somebody")
    policy = services.guards.of(guard, progress.principal.tenant)
    checked = await check(policy, call, progress, Inner(services, progress, table).answer if policy.asks else None)
    progress.prompt = rewritten(call, checked.call, progress.prompt)
    return checked


async def _counted(call: Call, plan: Plan, progress: Progress, services: Services) -> Batch | None:
    """The answer to a question for a prompt's tokens that no provider can be asked; None where one can.

    It costs nothing. Raises `GatewayError` where nobody here can count them either.
    """
    deployment = plan.choices[0][1]
    if deployment.tokenizes:
        return None
    progress.mark(FIT)
    try:
        event = await services.fitter.counted(call, deployment)
    finally:
        progress.resume()
    progress.end()
    return [event]


class Inner:
    """Makes the calls that `fit` and guards need on the way of a request: the whole path again, on the same account."""

    def __init__(self, services: Services, parent: Progress, table: Table) -> None:
        self._services = services
        self._parent = parent
        self._table = table
        self._number = 0
        self.spent = Spent()
        """What its calls have cost, those that failed too."""

    @property
    def allowed(self) -> bool:
        """Whether it may: a call that was itself made on the way makes none."""
        return self._parent.purpose == "request"

    def window(self, model: str) -> int:
        """The tokens that prompt and answer of this model may have together."""
        return self._table.models[model].stable.context_window

    async def __call__(self, model: str, body: JsonObject, purpose: str) -> str:
        """The text of the answer. Raises `GatewayError`."""
        return answer_text(await self.answer(model, body, purpose))

    async def answer(self, model: str, body: JsonObject, purpose: str) -> JsonObject:
        """The answer, whole. Raises `GatewayError`."""
        self._number += 1
        progress = Progress(f"{self._parent.request_id}-{purpose}-{self._number}", Operation.CHAT)
        progress.purpose = purpose
        raw = orjson.dumps({**body, "model": model})

        async def read_body(_limit: int) -> bytes:
            return raw

        arrival = Arrival((), read_body, within=self._parent)
        events: Batch = []

        async def keep(batch: Batch) -> None:
            events.extend(batch)

        try:
            await serve(arrival, progress, self._services, keep)
        finally:
            self.spent = self.spent.plus(progress.charge.tokens, progress.cost)
        if progress.durable is not None:
            await progress.durable
        (event,) = events
        return event.doc


def _on_account_of(within: Progress) -> Principal:
    if within.principal is None:
        raise AssertionError("a stage asks on somebody's account")
    return replace(within.principal, models=None)  # which models help to make a request fit is the operator's choice


def charge(progress: Progress) -> None:
    """What a request that has ended is charged, whatever became of it; leaving a reservation asks for it."""
    progress.mark(RELAY)
    call, deployment = progress.call, progress.deployment
    if progress.report is not None:
        progress.report.close()
    if call is None or deployment is None:
        return
    if progress.reached:
        usage = settle(
            call, deployment, progress.reported, progress.counted, finished=progress.finished, prompt=progress.prompt
        )
        progress.charge = progress.earlier.plus(charged(call, deployment, usage))
    else:
        usage, progress.charge = progress.left, progress.earlier
    progress.usage = usage
