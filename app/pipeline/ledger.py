"""What the ledger learns of a request: at its bound before each attempt is sent, and as it was when it has ended.

What is written is as much as `entry.decode` needs to make an `Entry`, and no more: both records together may take 6 µs.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable
from time import perf_counter, time
from typing import Protocol

from app.entry import LONG, METHODS, MOST, OUTCOMES, SHORT, shared
from app.errors import OVERLOADED, GatewayError, Outcome
from app.exchange import Arm, Call, CountMethod, Method, Usage
from app.metering import NOTHING, Charge
from app.pipeline.bound import output_bound, prompt_bound
from app.pipeline.progress import Progress
from app.table import Deployment

_KEPT = 50_000
"""Shared parts that are kept at most."""
_OUTCOMES = {outcome: OUTCOMES.index(outcome) for outcome in Outcome}
_METHODS = {method: METHODS.index(method) for method in Method}
_OPEN_OUTCOME, _OPEN_METHOD = _OUTCOMES[Outcome.INTERNAL_ERROR], _METHODS[Method.BOUND]
_pack = SHORT.pack
_MOST_SHORT = 2**32 - 1


class JournalFailed(Exception):
    """The journal cannot be written. Nothing may be sent upstream: it would be missing from the ledger."""


class Journal(Protocol):
    """A durable log of `entry` records: `numbers` differ, `shared` is the same object for many requests.

    Both return what completes once the record is on the disk, None where nobody need wait.
    """

    def open(self, name: str, numbers: bytes, shared: bytes) -> Awaitable[None] | None:
        """Say that a request is about to be sent. Raises `JournalFailed`."""

    def close(self, name: str, numbers: bytes, shared: bytes) -> Awaitable[None] | None:
        """Say how it ended; without numbers: it was never sent. Never raises, what it returns may: JournalFailed."""


class Ledger:
    """Tells the journal, where there is one, of every request that may reach an upstream."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._shared: dict[tuple[str | None, ...], tuple[Deployment, bytes]] = {}

    def open(self, call: Call, arm: Arm, deployment: Deployment, progress: Progress) -> Awaitable[None] | None:
        """Before an attempt: what it may use, and what those before it may have cost. Await what comes back.

        Raises `GatewayError` `overloaded` where it cannot be written: then nothing may be sent.
        """
        if progress.reached:
            _leave_behind(progress)
        elif progress.opened is deployment:
            return None  # the attempt before was refused: what was written still holds
        progress.opened = deployment
        prompt, output = prompt_bound(call, deployment, progress.prompt), output_bound(call, deployment)
        progress.bound = prompt, output
        if self._journal is None:
            return None
        progress.shared = shared = self._common(call, arm, deployment, progress)
        if not progress.opened_at:
            progress.opened_at = time()
        if call.images or output > _MOST_SHORT or progress.earlier is not NOTHING:
            numbers = _numbers(progress, call, Usage(prompt, output, method=Method.BOUND), Outcome.INTERNAL_ERROR, 0.0)
        else:
            at, attempts = progress.opened_at, progress.attempts
            numbers = _pack(1, _OPEN_OUTCOME, _OPEN_METHOD, at, 0.0, -1.0, attempts, prompt, output, prompt, output)
        try:
            return self._journal.open(progress.request_id, numbers, shared)
        except JournalFailed as failure:
            progress.detail = str(failure)
            raise _unwritten() from failure

    def close(self, progress: Progress) -> Awaitable[None] | None:
        """The request has ended and is settled; one that no upstream can have seen is taken back."""
        usage, call = progress.usage, progress.call
        if self._journal is None or progress.opened is None or usage is None or call is None:
            return None
        if not progress.exposed:
            return self._journal.close(progress.request_id, b"", progress.shared)
        if not progress.reached and usage is progress.left:
            usage = Usage(0, 0, method=usage.method)  # what is left of attempts before stands in the row as such
        numbers = _numbers(progress, call, usage, progress.outcome, perf_counter() - progress.began)
        return self._journal.close(progress.request_id, numbers, progress.shared)

    def _common(self, call: Call, arm: Arm, deployment: Deployment, progress: Progress) -> bytes:
        """The part of a record that many requests share."""
        principal = progress.principal
        if principal is None:
            raise AssertionError("nobody is served before they are known")
        method = CountMethod.BOUND if progress.prompt is None else progress.prompt.method
        key = (
            principal.tenant, principal.key, call.model, deployment.name, arm, call.operation, progress.purpose,
            method, progress.template,
        )  # fmt: skip
        kept = self._shared.get(key)
        if kept is not None and kept[0] is deployment:
            return kept[1]
        if len(self._shared) >= _KEPT:
            self._shared.clear()
        made = shared(key, deployment.price)
        self._shared[key] = deployment, made
        return made


def _numbers(progress: Progress, call: Call, usage: Usage, outcome: Outcome, seconds: float) -> bytes:
    made, out, cached, written, thought, method = usage
    earlier, first = progress.earlier, progress.first_at
    how, by = _OUTCOMES[outcome], _METHODS[method]
    at, attempts, wait = progress.opened_at, progress.attempts, first - progress.began if first else -1.0
    prompt, cap = progress.bound
    if not (cached or written or thought or call.images) and earlier is NOTHING:
        try:
            return _pack(1, how, by, at, seconds, wait, attempts, made, out, prompt, cap)
        except struct.error:
            pass  # an upstream reports more tokens than there are
    counts = (made, out, prompt, cap, cached, written, thought, call.images, earlier.tokens, earlier.nano_usd)
    return LONG.pack(2, how, by, at, seconds, wait, attempts, *[min(count, MOST) for count in counts])


def _leave_behind(progress: Progress) -> None:
    """Add what the last attempt may be billed, which brought nothing: its bound, or a cut stream's allowance."""
    call, deployment = progress.call, progress.opened
    if call is None or deployment is None:
        raise AssertionError("only what was opened can have been billed")
    (prompt, output), method = progress.bound, Method.BOUND
    if call.stream and deployment.cancel_allowance is not None:
        output, method = min(output, deployment.cancel_allowance), Method.AT_LEAST
    nano = -(-deployment.price.bound(prompt, output, call.images) // 1000)
    progress.earlier = progress.earlier.plus(Charge(prompt + output, nano))
    left = progress.left
    progress.left = Usage(left.input_tokens + prompt, left.output_tokens + output, method=method)
    progress.reached = False


def _unwritten() -> GatewayError:
    return GatewayError(
        OVERLOADED, "The gateway cannot write down what this request would cost. Try again shortly.", retry_after=1.0
    )
