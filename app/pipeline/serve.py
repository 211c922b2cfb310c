"""The path of a request, whole: `serve` is the only function that knows the order of the stages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from random import random
from typing import NamedTuple

from app.errors import GatewayError, Outcome
from app.exchange import NO_WISHES, Batch, Wishes
from app.pipeline.admit import Admission
from app.pipeline.authenticate import authenticate
from app.pipeline.call import Caller
from app.pipeline.fit import Fitter, at_once
from app.pipeline.ledger import Ledger
from app.pipeline.progress import ADMIT, AUTHENTICATE, CALL, RELAY, SETTLE, VALIDATE, Progress
from app.pipeline.record import Recorder
from app.pipeline.route import route
from app.pipeline.settle import charged, settle
from app.pipeline.spans import Tracer
from app.pipeline.validate import validate
from app.table import State


class Arrival(NamedTuple):
    """A request as it stands at the door: its headers, and how to get its body, which nobody has read yet."""

    credentials: tuple[bytes, ...]
    read_body: Callable[[int], Awaitable[bytes]]
    wishes: Wishes = NO_WISHES


@dataclass(frozen=True, slots=True)
class Services:
    """What the stages need beside the request."""

    state: State
    admission: Admission
    fitter: Fitter
    caller: Caller
    ledger: Ledger
    recorder: Recorder
    tracer: Tracer


async def serve(arrival: Arrival, progress: Progress, services: Services) -> AsyncGenerator[Batch, None]:
    """Yield the answer's events in batches. Raises `GatewayError`: before the first batch a status, after it an event.

    The caller must close this generator (`aclosing`): however a request ends, it is settled and recorded on the way.
    """
    table = services.state.table  # one snapshot: a reload never changes a request under way
    try:
        # First, so that a stranger's body is never read.
        progress.principal = authenticate(table, arrival.credentials)
        progress.mark(AUTHENTICATE)
        try:
            raw = await arrival.read_body(table.bounds.max_body_bytes)
        finally:
            progress.resume()
        # Before admission: only a sound request takes a place.
        progress.call = call = validate(progress.operation, raw)
        progress.mark(VALIDATE)
        # Before routing: under overload, shedding must stay the cheapest thing to do.
        with services.admission:
            plan = route(call, progress.principal, table, arrival.wishes, random())  # noqa: S311 - no secret hangs on it
            progress.mark(ADMIT)
            # Before the guard and the reservation: both are about what will be sent.
            if not at_once(call, plan, progress):
                call, plan = await services.fitter.fit(call, plan, table.models[call.model], progress)
                progress.call = call
            # Retries and fallbacks end with the first event: from then on the caller holds a part of this answer.
            with await services.caller.call(call, plan, progress) as answer:
                progress.mark(CALL)
                batch = answer.first
                while batch:
                    progress.see(batch)
                    yield batch
                    batch = await answer.more()
        progress.outcome = Outcome.OK
    except GatewayError as error:
        progress.fail(error)
        raise
    except (asyncio.CancelledError, GeneratorExit) as cancellation:
        progress.cut(cancellation)
        raise
    finally:
        # Last, and without waiting for anything: a request that ended in any way is settled, then recorded, once.
        # The ledger comes first: `durable` is for the caller to await before the answer's last byte.
        progress.mark(RELAY)
        _settle(progress)
        progress.durable = services.ledger.close(progress)
        progress.mark(SETTLE)
        services.recorder.record(progress)


def _settle(progress: Progress) -> None:
    call, deployment = progress.call, progress.deployment
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
