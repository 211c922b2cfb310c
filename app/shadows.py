"""Copies of requests to shadows: bounded, off the path, dropped first, never sent twice, never charged to a caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Protocol

from app.config import Guard
from app.errors import GatewayError, Outcome
from app.exchange import Arm, Call, Count, Principal
from app.metering import Charge, Claim, Verdict
from app.pipeline.admit import Admission
from app.pipeline.bound import output_bound, prompt_bound
from app.pipeline.call import Caller
from app.pipeline.content import Redact, cleaned
from app.pipeline.counting import LARGE
from app.pipeline.counting import bound as size_of
from app.pipeline.ledger import Ledger
from app.pipeline.looks import format_ok, refused, same_tools, similarity
from app.pipeline.observe import harmed
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.reservation import StoreUnavailable
from app.pipeline.serve import charge
from app.pipeline.spans import Tracer
from app.pipeline.transcript import LONGEST, Transcript
from app.stores import sql
from app.stores.comparisons import Comparisons
from app.stores.delivery import SinkUnavailable
from app.stores.memory import MemoryStore
from app.table import Deployment, Shadow, State
from app.tasks import TaskGroup
from app.telemetry import (
    SHADOW_COPIES,
    SHADOW_COST,
    SHADOW_FLIPS,
    SHADOW_IN_FLIGHT,
    SHADOW_MEANING,
    SHADOW_SECONDS,
    SHADOW_SIMILARITY,
    Telemetry,
)  # fmt: skip

NOBODY = Principal(tenant="-", key="-")
"""Who a copy is charged to in the ledger: no caller. No tenant can have this name."""
PAUSE_S = 0.01
"""Seconds that a copy waits, so that the caller's answer leaves first."""


class Purse(Protocol):
    """Where the budgets of shadows are counted: the store of all budgets."""

    async def reserve(self, claim: Claim) -> Verdict:
        """Take the claim or not. Raises StoreUnavailable."""

    def settle(self, claim_id: str, charge: Charge) -> None:
        """End a claim: what is beyond `charge` goes back."""


class LocalPurse:
    """Budgets of shadows in this process, for one worker: what was spent before it began is read from the ledger."""

    def __init__(self, ledger: sql.Ledger) -> None:
        self._ledger = ledger
        self._store = MemoryStore()
        self._known: set[str] = set()
        self._reading = asyncio.Lock()

    async def reserve(self, claim: Claim) -> Verdict:
        """Take the claim or not. Raises StoreUnavailable while nobody can tell what was spent."""
        async with self._reading:
            fresh = [budget for budget in claim.allowances.budgets if budget.name not in self._known]
            if fresh:
                try:
                    self._store.restore(await self._ledger.spent(fresh, time.time()))
                except SinkUnavailable as error:
                    raise StoreUnavailable(str(error)) from error
                self._known.update(budget.name for budget in fresh)
        return await self._store.reserve(claim)

    def settle(self, claim_id: str, charge: Charge) -> None:
        """End a claim."""
        self._store.settle(claim_id, charge)


class Judge(Protocol):
    """Says whether a guard would find harm in an answer: the guards."""

    async def harmful(self, settings: Guard, tenant: str, call: Call, texts: Sequence[str]) -> bool | None:
        """None where the guard looks at no answers, or cannot tell."""


Likeness = Callable[[str, str], Awaitable[float | None]]
"""How alike two texts are in what they mean, -1 to 1; None where nobody can tell."""


@dataclass(frozen=True, slots=True)
class Comparing:
    """Who looks at the answers, and where the rows go. With `redact` their texts are kept, redacted."""

    rows: Comparisons
    judge: Judge
    likeness: Likeness
    redact: Redact | None = None


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two answers."""

    progress: Progress
    outcome: Outcome
    seconds: float
    said: Transcript


class Shadows:
    """Implements `mirror.Copies` for worker number `worker` of `workers`: together they keep `max_concurrent`."""

    def __init__(
        self,
        state: State,
        admission: Admission,
        caller: Caller,
        ledger: Ledger,
        purse: Purse,
        comparing: Comparing,
        told: tuple[Telemetry, Tracer],
        share: tuple[int, int],
    ) -> None:
        self._state = state
        self._admission = admission
        self._caller = caller
        self._ledger = ledger
        self._purse = purse
        self._comparing = comparing
        self._telemetry, self._tracer = told
        self._worker, self._workers = share
        self._taken: dict[str, int] = {}
        self._tasks = TaskGroup("shadow")

    async def aclose(self) -> None:
        """End the copies that run; each is settled on the way."""
        await self._tasks.aclose()

    def room(self, shadow: Shadow) -> bool:
        """Whether a copy may be made: a place of this worker's share is free, and callers leave half of it idle."""
        taken = self._taken.get(shadow.model, 0)
        if taken >= (shadow.max_concurrent + self._workers - 1 - self._worker) // self._workers:
            self._count(shadow, "dropped_busy")
            return False
        if self._pressed():
            self._count(shadow, "dropped_load")
            return False
        self._take(shadow, 1)
        return True

    def leave(self, shadow: Shadow) -> None:
        """A place is not needed: the request was refused, left, or answered by the shadow's own deployment."""
        self._count(shadow, "dropped_unwanted")
        self._take(shadow, -1)

    def send(self, shadow: Shadow, progress: Progress) -> None:
        """Send the copy of a request that has ended."""
        said = progress.transcript
        if said is None or self._pressed():
            self._count(shadow, "dropped_load")
            self._take(shadow, -1)
            return
        seconds = time.perf_counter() - progress.began
        primary = _Side(progress, progress.outcome, seconds, said)
        self._tasks.spawn("copy", self._run(shadow, primary)).add_done_callback(lambda _: self._take(shadow, -1))

    def _pressed(self) -> bool:
        return self._admission.in_flight * 2 > self._state.table.bounds.max_in_flight

    def _take(self, shadow: Shadow, places: int) -> None:
        self._taken[shadow.model] = self._taken.get(shadow.model, 0) + places
        self._telemetry.gauge(SHADOW_IN_FLIGHT, shadow.model, shadow.deployment.name).inc(places)

    def _count(self, shadow: Shadow, result: str) -> None:
        self._telemetry.counter(SHADOW_COPIES, shadow.model, shadow.deployment.name, result).inc()

    async def _run(self, shadow: Shadow, primary: _Side) -> None:
        call = primary.progress.call
        if call is None:
            raise AssertionError("only a call is copied")
        await asyncio.sleep(PAUSE_S)
        progress = Progress(f"shd_{token_hex(16)}", call.operation)
        progress.prompt = await _prompt_of(call, shadow.deployment)
        bound = _bound(call, shadow, progress.prompt)
        claim = Claim(progress.request_id, shadow.allowances, bound, sent=True)
        try:
            refusal = (await self._purse.reserve(claim)).refused
        except StoreUnavailable:
            refusal = 0
        if refusal is not None:
            self._count(shadow, "dropped_budget")
            return
        await self._call(shadow, call, progress, primary, bound)

    async def _call(self, shadow: Shadow, call: Call, progress: Progress, primary: _Side, bound: Charge) -> None:
        progress.principal, progress.call = NOBODY, call
        progress.transcript = said = Transcript()
        progress.trace = self._tracer.copy(primary.progress, progress.request_id)
        began = time.perf_counter()
        try:
            with suppress(GatewayError):
                try:
                    plan = Plan(((Arm.SHADOW, shadow.deployment),))
                    with await self._caller.call(call, plan, progress) as answer:
                        batch = answer.first
                        while batch:
                            progress.see(batch)
                            progress.first_at = progress.first_at or time.perf_counter()
                            batch = await answer.more()
                    progress.outcome = Outcome.OK
                except GatewayError as error:
                    progress.fail(error)
                    raise
        except asyncio.CancelledError as cancellation:
            progress.cut(cancellation)
            raise
        finally:
            charge(progress)
            self._ledger.close(progress)
            spent = progress.charge if progress.outcome is not Outcome.INTERNAL_ERROR else bound
            self._purse.settle(progress.request_id, spent)
            self._count(shadow, progress.outcome)
            self._telemetry.counter(SHADOW_COST, shadow.model, shadow.deployment.name).inc(progress.cost / 1e9)
        other = _Side(progress, progress.outcome, time.perf_counter() - began, said)
        comparing = time.perf_counter()
        row = await asyncio.to_thread(compare, shadow.model, primary, other)
        await self._look(shadow, row, primary, other)
        differs = differences(row)
        self._tell(shadow, row, differs)
        similarity = row["similarity"]
        self._tracer.compared(progress, comparing, None if similarity is None else float(str(similarity)), differs)
        self._comparing.rows.add(row)

    async def _look(self, shadow: Shadow, row: dict[str, object], primary: _Side, other: _Side) -> None:
        """Add what takes others to tell: harm, and likeness in meaning."""
        call, principal = primary.progress.call, primary.progress.principal
        model = self._state.table.models.get(shadow.model)
        guard = model.guard if model is not None else None
        if guard is not None and call is not None and principal is not None:
            said = [other.said.text, *(tool.arguments for tool in other.said.tools)]
            harm = await self._comparing.judge.harmful(guard, principal.tenant, call, said)
            if harm is not None and other.outcome is Outcome.OK:
                row["shadow_harm"] = harm
            if harm is not None and primary.outcome in (Outcome.OK, Outcome.CUT_GUARD):
                row["primary_harm"] = harmed(primary.progress)
        if shadow.embedding_similarity and row["similarity"] is not None:
            row["meaning"] = await self._comparing.likeness(primary.said.text, other.said.text)
        redact = self._comparing.redact
        if redact is not None:
            for name, side in (("primary_text", primary), ("shadow_text", other)):
                row[name] = await asyncio.to_thread(_kept, side.said, redact)

    def _tell(self, shadow: Shadow, row: dict[str, object], differs: tuple[str, ...]) -> None:
        labels = shadow.model, shadow.deployment.name
        for side in ("primary", "shadow"):
            self._telemetry.histogram(SHADOW_SECONDS, *labels, side).observe(float(str(row[f"{side}_seconds"])))
        for metric, name in ((SHADOW_SIMILARITY, "similarity"), (SHADOW_MEANING, "meaning")):
            if row[name] is not None:
                self._telemetry.histogram(metric, *labels).observe(float(str(row[name])))
        for what in differs:
            self._telemetry.counter(SHADOW_FLIPS, *labels, what).inc()


def differences(row: dict[str, object]) -> tuple[str, ...]:
    """In what the two sides of a comparison differ."""
    pairs = {"status": "outcome", "refusal": "refused", "harm": "harm", "format": "format_ok"}
    found = [
        what
        for what, name in pairs.items()
        if None not in (row[f"primary_{name}"], row[f"shadow_{name}"])
        and row[f"primary_{name}"] != row[f"shadow_{name}"]
    ]
    return (*found, "tools") if row["same_tools"] is False else tuple(found)


def _kept(said: Transcript, redact: Redact) -> str:
    return cleaned(said.text, redact, LONGEST, torn=said.cut)[0]


async def _prompt_of(call: Call, deployment: Deployment) -> Count:
    """The bound of the copy's prompt; of a large one off the event loop."""
    if call.size > LARGE and not call.plain:
        return await asyncio.to_thread(size_of, call, deployment)
    return size_of(call, deployment)


def _bound(call: Call, shadow: Shadow, size: Count) -> Charge:
    """What a copy can cost at most."""
    deployment = shadow.deployment
    prompt, output = prompt_bound(call, deployment, size), output_bound(call, deployment)
    return Charge(prompt + output, -(-deployment.price.bound(prompt, output, call.images) // 1000))


def compare(model: str, primary: _Side, shadow: _Side) -> dict[str, object]:
    """One row: both answers side by side. Texts are compared; they are in it only once they are redacted (`_look`)."""
    call, deployment = primary.progress.call, primary.progress.deployment
    other = shadow.progress.deployment
    if call is None or deployment is None or other is None:
        raise AssertionError("both were called")
    both = primary.outcome is Outcome.OK and shadow.outcome is Outcome.OK
    texts = primary.said.text, shadow.said.text
    row: dict[str, object] = {
        "request_id": primary.progress.request_id,
        "at": time.time(),
        "model": model,
        "primary_deployment": deployment.name,
        "primary_arm": str(primary.progress.arm),
        "shadow_deployment": other.name,
        "same_tools": same_tools(primary.said.tools, shadow.said.tools) if both else None,
        "similarity": similarity(*texts) if both and any(texts) else None,
        "meaning": None,
        "primary_text": None,
        "shadow_text": None,
    }
    for name, side in (("primary", primary), ("shadow", shadow)):
        usage, first = side.progress.usage, side.progress.first_at
        answered = side.outcome is Outcome.OK
        row |= {
            f"{name}_outcome": str(side.outcome),
            f"{name}_seconds": side.seconds,
            f"{name}_first_seconds": first - side.progress.began if first and call.stream else None,
            f"{name}_tokens": usage.output_tokens if usage is not None else 0,
            f"{name}_nano": side.progress.cost,
            f"{name}_length": len(side.said.text),
            f"{name}_refused": answered and refused(side.said),
            f"{name}_harm": None,
            f"{name}_format_ok": format_ok(call.body, side.said) if answered else None,
        }
    return row
