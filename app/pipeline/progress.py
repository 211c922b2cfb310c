"""What is known so far about one request: filled in by the stages, read by `settle` and `record` at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import Final, Protocol

from app.errors import GatewayError, Outcome
from app.exchange import Arm, Batch, Call, Count, Method, Operation, Principal, Usage
from app.metering import NOTHING, Limit
from app.pipeline.plan import Plan
from app.pipeline.report import Report
from app.pipeline.trace import Trace
from app.pipeline.transcript import Transcript
from app.scopes import Terms
from app.table import Deployment

AUTHENTICATE, VALIDATE, ADMIT, FIT, GUARD, RESERVE, CALL, RELAY, SETTLE = range(9)
STAGES: Final = ("authenticate", "validate", "admit", "fit", "guard", "reserve", "call", "relay", "settle")

LEFT: Final = "the caller left"
"""The message of the cancellation of a request whose caller has gone. Any other cancellation is a shutdown."""
NONE_LEFT: Final = Usage(0, 0, method=Method.NOTHING_SENT)
"""Tokens of attempts that left nothing behind; also of a request that never reached an upstream."""
FULL_SOCKET: Final = 0.005
"""Seconds. A write that takes longer was waiting for its caller."""


class Held(Protocol):
    """What a request has reserved, as attempts see it (`reserve.Reservation`)."""

    def sending(self) -> None:
        """Say that an upstream may see the request from now on. Raises `GatewayError` where it waited too long."""
        ...

    async def again(self, *, billed: bool) -> None:
        """Reserve for another attempt; `billed` says that the last one may have been. Raises `GatewayError`."""
        ...


class Progress:
    """One request's facts and its own time per stage.

    Times are `perf_counter` seconds. `own[stage]` is what the gateway itself spent; a wait for the caller or the
    upstream lies between `mark` (which closes a stretch of own time) and `resume` (which begins the next).
    """

    __slots__ = (
        "arm",
        "attempts",
        "began",
        "bound",
        "call",
        "charge",
        "clamped",
        "copied",
        "counted",
        "deployment",
        "detail",
        "durable",
        "earlier",
        "error",
        "exposed",
        "finished",
        "first_at",
        "fitted",
        "held",
        "last_at",
        "left",
        "observed",
        "opened",
        "opened_at",
        "operation",
        "outcome",
        "own",
        "plan",
        "principal",
        "prompt",
        "purpose",
        "rates",
        "reached",
        "report",
        "reported",
        "request_id",
        "reserved",
        "resumed",
        "seen",
        "shared",
        "shut_down",
        "status",
        "template",
        "terms",
        "trace",
        "transcript",
        "usage",
    )  # fmt: skip

    def __init__(self, request_id: str, operation: Operation) -> None:
        self.request_id, self.operation = request_id, operation
        self.principal: Principal | None = None
        self.call: Call | None = None
        self.purpose = "request"
        """What it is for: a caller's `request`, or what a stage asks on the way of one."""
        self.prompt: Count | None = None
        """The prompt's tokens: not too few for any deployment that may be called."""
        self.template: str | None = None
        """Name and version of the prompt template that was put before what the caller wrote."""
        self.fitted: str | None = None
        """What was done to make the request fit, as a header tells it."""
        self.deployment: Deployment | None = None
        self.arm: Arm | None = None
        self.plan: Plan | None = None
        self.observed = self.copied = False
        """Whether a rollout counts this request among its observations; whether a place is held for its copy."""
        self.transcript: Transcript | None = None
        """What the answer says; kept only where a rollout or a shadow asks."""
        self.attempts = self.clamped = self.counted = self.reserved = self.status = 0
        self.reached = self.exposed = self.finished = self.shut_down = False
        """Whether the last attempt may be billed (sent, and not refused); whether an upstream may have seen any."""
        self.bound = (0, 0)
        """Input and output tokens that the last attempt may use at most."""
        self.charge, self.earlier, self.left = NOTHING, NOTHING, NONE_LEFT
        """What the attempts before it may have cost; the same in tokens, for the access log where none brought more."""
        self.opened: Deployment | None = None
        self.shared = b""
        """Where the ledger's journal says that the request goes, and the part of that record which many share."""
        self.opened_at = self.first_at = self.last_at = 0.0
        """Seconds since 1970 at which the ledger was told first; when the caller got its first and last piece."""
        self.durable: Awaitable[None] | None = None
        """Completes once the ledger's record is on the disk; None where nobody waits for that."""
        self.reported: Usage | None = None
        self.seen: tuple[Batch, Batch] = ([], [])
        """The last two batches: the end of an answer says why it ended, what it cost and who made it."""
        self.usage: Usage | None = None
        self.terms: Terms | None = None
        self.held: Held | None = None
        """What the request is held to, looked up once; its reservation while it lasts, of `reserved` tokens an attempt.
        None where nothing limits it."""
        self.rates: tuple[tuple[tuple[Limit, ...], Sequence[int]], ...] = ()
        """The limits that the request was held to, with what is left of each."""
        self.outcome = Outcome.INTERNAL_ERROR
        self.error: GatewayError | None = None
        self.detail: str | None = None
        self.trace: Trace | None = None
        """Its place in a trace; None where nobody asks for one."""
        self.report: Report | None = None
        """What a guard found; None where no guard looked."""
        self.own = [0.0] * len(STAGES)
        self.began = self.resumed = perf_counter()

    @property
    def cost(self) -> int:
        """Nano-USD that the request is charged, all its attempts together."""
        return self.charge.nano_usd

    def mark(self, stage: int) -> None:
        """What was spent since the last mark or resume belongs to `stage`."""
        now = perf_counter()
        self.own[stage] += now - self.resumed
        self.resumed = now

    def resume(self) -> None:
        """A wait is over."""
        self.resumed = perf_counter()

    def sent(self) -> None:
        """A piece has gone to the caller. Writing is own time; waiting until a full socket is read is not."""
        self.last_at = now = perf_counter()
        if now - self.resumed > FULL_SOCKET:
            self.resumed = now

    def see(self, batch: Batch, *, again: bool = False) -> None:
        """Take in what an upstream has sent; what a guard has let through was seen before."""
        if again:
            return
        if self.transcript is not None:
            self.transcript.add(batch)
        self.seen = (self.seen[1], batch)
        for event in batch:
            self.counted += event.tokens
            if event.usage is not None:
                self.reported = event.usage

    def end(self) -> None:
        """The answer has come to the caller as far as it may."""
        report = self.report
        if report is None or not (report.refused or report.cut):
            self.outcome = Outcome.OK
        else:
            self.outcome = Outcome.REFUSED_GUARD if report.refused else Outcome.CUT_GUARD

    def cut(self, cancellation: BaseException) -> None:
        """The request ends in a wait: its caller has left, or the gateway is shutting down."""
        self.resume()
        if isinstance(cancellation, asyncio.CancelledError) and cancellation.args != (LEFT,):
            self.shut_down = True
        self.outcome = Outcome.OVERLOADED if self.shut_down else Outcome.CLIENT_CLOSED

    def fail(self, error: GatewayError) -> None:
        """The request ends with this error."""
        self.error = error
        self.outcome = error.outcome
        self.status = self.status or error.status
