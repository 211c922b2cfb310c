"""Stage 8: call the upstream. Deadlines, retry and fallback, all before the first event; after it, never again.

A retry goes to the same deployment after a failed connection, a 429, a 503, a stream whose first event is an error, or
a 5xx of an endpoint on trial: to another endpoint at once where there is one, else after the upstream's `retry-after`.
It costs from a budget of 10 % of the deployment's traffic. What cannot be retried, and is not the caller's own fault,
goes to the next deployment of the plan. Everything lies inside the first deployment's `timeouts.total`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Protocol, Self

from app.errors import TIMEOUTS, UPSTREAM_ERROR, UPSTREAM_TIMEOUT, Failure, GatewayError, Outcome, UpstreamFailure
from app.exchange import Arm, Batch, Call, Endpoint, Event, Outbound, Timeouts, Usage
from app.pipeline.attempts import Attempt, Attempts
from app.pipeline.counting import scaffold_of
from app.pipeline.endpoints import Endpoints, EndpointState
from app.pipeline.ledger import Ledger
from app.pipeline.outgoing import outgoing
from app.pipeline.plan import Plan
from app.pipeline.progress import CALL, RELAY, Progress
from app.pipeline.retries import RetryBudgets
from app.table import Deployment

MAX_BODY = 64 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024
DEFAULT_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds. A `retry-after` up to here is waited for; a longer one is the caller's to wait for."""
MOST_ATTEMPTS = 3
"""At one deployment, for one request."""


class Outlet(Protocol):
    """The caller's socket, or who watches over it, for pieces of a stream that are text and nothing else."""

    @property
    def full(self) -> bool:
        """Whether it takes nothing at present."""

    def relay(self, piece: bytes) -> bool:
        """Write server-sent events behind what was sent before. False, and nothing has happened, where it may not."""


class Reply(Protocol):
    """An upstream's response whose head has come."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names; repeated ones are joined with a comma."""

    async def read(self, tap: Callable[[bytes], bool] | None = None) -> bytes:
        """The next piece of the body, everything that is here; empty at the end. Raises `UpstreamFailure`.

        With `tap`, the next piece that it leaves: each is offered to it in the turn of the loop in which it comes.
        """

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises `UpstreamFailure`, also when it is longer than `limit` bytes."""

    def close(self, *, drain: bool = False) -> None:
        """Give the connection back when the body is complete, else abort it, so that the upstream notices at once.

        With `drain` the answer is complete, and only the rest of its framing may be missing: that is waited for, off
        the path and for a bounded time, and the connection kept.
        """


class Transport(Protocol):
    """Sends one HTTP request to one endpoint."""

    async def send(self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float) -> Reply:
        """The reply, as soon as its head is here. `deadline` is loop time. Raises `UpstreamFailure`."""


class Decoder(Protocol):
    """Turns one answer into events. Raises `ValueError` on what is no answer in its dialect."""

    finished: bool
    """Whether the answer has come to its own end."""
    failure: Event | None
    """The error that ended the answer from inside, with `error` set; events before it were handed out."""
    glanced: int
    """Output tokens that the last piece known at a glance carries, at least."""
    usage: Usage | None
    """The running usage of the pieces known at a glance, where the upstream keeps one."""

    def feed(self, piece: bytes) -> Batch:
        """The events of a stream that this piece of its body completes; an empty piece is the body's end."""

    def glance(self, piece: bytes) -> bytes:
        """What `feed` would make of this piece, as server-sent events for the caller, where it can be told unread.

        Empty where it must be fed. Only text is told so: neither an end, nor an error, nor what is hidden.
        """

    def body(self, data: bytes) -> Batch:
        """The one event that a whole JSON body is; none when it is an error."""


class Dialect(Protocol):
    """Speaks one provider's API. Pure: no I/O."""

    def encode(self, call: Call, deployment: Deployment, request_id: str) -> Outbound:
        """The request for the upstream. Raises `GatewayError` where the provider cannot do what is asked."""

    def decoder(self, call: Call) -> Decoder:
        """A fresh decoder for this call's answer."""

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """What an upstream's refusal means to the caller. Names neither addresses nor credentials."""


class Answer:
    """An upstream's answer whose first events are here. A context manager: leaving it lets go of the connection."""

    __slots__ = ("_attempt", "_decoder", "_dialect", "_outlet", "_progress", "_reply", "first")

    def __init__(
        self, first: Batch, reply: Reply, decoder: Decoder, dialect: Dialect, attempt: Attempt, progress: Progress
    ) -> None:
        self._reply = reply
        self._decoder = decoder
        self._dialect = dialect
        self._attempt = attempt
        self._progress = progress
        self._outlet: Outlet | None = None
        self.first = first

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._see_usage()
        self._outlet = None  # a guard there refers back to here
        self._progress.finished = self._decoder.finished
        self._reply.close(drain=self._decoder.finished)
        self._attempt.end("ok" if self._decoder.finished else "cut")

    async def more(self, outlet: Outlet | None = None) -> Batch:
        """The next events; empty at the end. Raises `GatewayError` when the stream breaks or carries an error.

        With an `outlet`, those that are known at a glance go there at once, counted, and are never among them.
        """
        progress = self._progress
        decoder = self._decoder
        self._outlet = outlet
        tap = None if outlet is None else self._pass_on
        try:
            while not decoder.finished and decoder.failure is None:
                progress.mark(RELAY)
                piece = await self._reply.read(tap)
                progress.resume()
                self._see_usage()
                batch = decoder.feed(piece)
                if batch:
                    self._attempt.chunk(progress.resumed)
                    return batch
        except UpstreamFailure as failure:
            self._attempt.failed(failure)
            raise failed(failure, progress) from failure
        except ValueError as error:
            self._attempt.end("malformed")
            raise malformed(error, progress) from error
        if decoder.failure is not None:
            raise self._broken(decoder.failure)
        return []

    def _pass_on(self, piece: bytes) -> bool:
        """Send a piece on, if a glance is enough; False leaves it to `more`. Runs while the request's task sleeps."""
        began = perf_counter()
        outlet, decoder, progress = self._outlet, self._decoder, self._progress
        if outlet is None or outlet.full or not (known := decoder.glance(piece)) or not outlet.relay(known):
            return False
        progress.counted += decoder.glanced
        self._attempt.chunk(began)
        progress.last_at = ended = perf_counter()
        progress.own[RELAY] += ended - began
        return True

    def _see_usage(self) -> None:
        """Take in the running usage of what was passed on since the last event."""
        if self._decoder.usage is not None:
            self._progress.reported = self._decoder.usage
            self._decoder.usage = None

    def _broken(self, event: Event) -> GatewayError:
        self._attempt.end("error_event")
        # Not the event itself: what is malformed may hold a piece of the answer.
        self._progress.detail = f"an error event, status {event.error}" if event.doc else "an event that is no JSON"
        return self._dialect.error(max(event.error, 500), {}, event.data, self._attempt.deployment)


class Caller:
    """Makes attempts until one has begun to answer."""

    def __init__(
        self,
        transport: Transport,
        dialects: Mapping[str, Dialect],
        endpoints: Endpoints,
        retries: RetryBudgets,
        attempts: Attempts,
        ledger: Ledger,
    ) -> None:
        self._transport = transport
        self._dialects = dialects
        self._endpoints = endpoints
        self._retries = retries
        self._attempts = attempts
        self._ledger = ledger
        self._time = asyncio.get_running_loop().time  # asking for the loop takes a system call each time

    def call(self, call: Call, plan: Plan, progress: Progress) -> Awaitable[Answer]:
        """The answer of the first deployment of the plan that gives one. Raises `GatewayError` when none does."""
        progress.arm, progress.deployment = arm, deployment = plan.choices[0]
        deadline = self._time() + deployment.timeouts.total
        if len(plan.choices) == 1:
            return self._deployment(call, arm, deployment, progress, deadline, final=True)
        return self._one_of(call, plan, progress, deadline)

    async def _one_of(self, call: Call, plan: Plan, progress: Progress, deadline: float) -> Answer:
        """The same where there are several."""
        last = len(plan.choices) - 1
        for place, (arm, deployment) in enumerate(plan.choices):
            progress.arm, progress.deployment = arm, deployment
            try:
                return await self._deployment(call, arm, deployment, progress, deadline, final=place == last)
            except GatewayError as error:
                if place == last or not _may_fall_back(error) or self._time() >= deadline:
                    raise
                problem = error
            if not await _has_room(progress):
                raise problem
        raise AssertionError("a plan is never empty")

    async def _deployment(
        self, call: Call, arm: Arm, deployment: Deployment, progress: Progress, deadline: float, *, final: bool
    ) -> Answer:
        """Attempts at one deployment, retries included."""
        dialect = self._dialects[deployment.dialect]
        scaffold = scaffold_of(call, deployment)
        progress.template = None if scaffold is None else scaffold.label
        if progress.prompt is not None:
            held = progress.held is not None or arm is Arm.SHADOW  # a copy's budget holds its bound elsewhere
            call = outgoing(call, deployment, progress.prompt, scaffold, held=held)
        request = dialect.encode(call, deployment, progress.request_id)
        tried: set[Endpoint] = set()
        self._retries.earn(deployment.name)
        state = self._endpoints.choose(deployment, tried, last_resort=final)
        if state is None:
            message = f"No endpoint of `{deployment.name}` is reachable at present."
            raise GatewayError(UPSTREAM_ERROR, message, retry_after=1.0)
        for attempts_left in range(MOST_ATTEMPTS - 1, -1, -1):
            # Whatever may reach an upstream is in the ledger's journal before.
            if (written := self._ledger.open(call, arm, deployment, progress)) is not None:
                await written
            if progress.held is not None:
                progress.held.sending()
            attempt = self._attempts.begin(call, arm, deployment, state)
            progress.attempts += 1
            sent = request if progress.trace is None else progress.trace.attempt(attempt, request)
            try:
                return await self._attempt(call, dialect, sent, attempt, progress, deadline)
            except GatewayError as error:
                if not attempts_left or not (attempt.retryable or attempt.gambled):
                    raise
                problem = error
            finally:
                attempt.end_unless_answering()
            tried.add(attempt.endpoint)
            state = await self._again(attempt, tried, problem, progress, deadline, final=final)
            if state is None or not await _has_room(progress):
                raise problem
        raise AssertionError("the last attempt answers or raises")

    async def _again(
        self,
        attempt: Attempt,
        tried: set[Endpoint],
        error: GatewayError,
        progress: Progress,
        deadline: float,
        *,
        final: bool,
    ) -> EndpointState | None:
        """Where another attempt at this deployment goes, after the wait that is due; None if none may be made."""
        deployment = attempt.deployment
        pause = 0.0
        state = self._endpoints.choose(deployment, tried, last_resort=False)
        if state is None:
            pause = DEFAULT_PAUSE if error.retry_after is None else error.retry_after
            if not attempt.retryable or pause > (LONGEST_PAUSE if final else DEFAULT_PAUSE):
                return None
            tried.clear()
            state = self._endpoints.choose(deployment, tried, last_resort=final)
        late = self._time() + pause >= deadline
        if state is None or late or not self._retries.spend(deployment.name):
            return None
        if pause:
            progress.mark(CALL)
            await asyncio.sleep(pause)
            progress.resume()
            state = self._endpoints.choose(deployment, tried, last_resort=final)
        return state

    async def _attempt(
        self,
        call: Call,
        dialect: Dialect,
        request: Outbound,
        attempt: Attempt,
        progress: Progress,
        deadline: float,
    ) -> Answer:
        """One request to one endpoint, up to its first event."""
        exposed_before = progress.exposed
        progress.reached = progress.exposed = True
        progress.mark(CALL)
        reply: Reply | None = None
        try:
            reply = await self._transport.send(attempt.endpoint, request, attempt.deployment.timeouts, deadline)
            if reply.status != 200:
                progress.reached = False
                raise await self._refused(reply, dialect, attempt, progress)
            decoder = dialect.decoder(call)
            if call.stream:
                first = await self._first(reply, decoder, progress)
            else:
                data = await reply.read_all(MAX_BODY)
                progress.resume()
                first = decoder.body(data)
            if not first:
                progress.reached = False
                raise self._bad_start(decoder.failure, dialect, attempt, progress)
            attempt.answering(progress.resumed)
            answer, reply = Answer(first, reply, decoder, dialect, attempt, progress), None
            return answer
        except UpstreamFailure as failure:
            attempt.failed(failure)
            progress.reached = failure.sent
            progress.exposed = failure.sent or exposed_before
            raise failed(failure, progress) from failure
        except ValueError as error:
            attempt.end("malformed")
            raise malformed(error, progress) from error
        finally:
            if reply is not None:
                reply.close()

    async def _first(self, reply: Reply, decoder: Decoder, progress: Progress) -> Batch:
        """The first events of a stream."""
        if "event-stream" not in reply.headers.get("content-type", ""):
            raise ValueError("a stream was asked for, something else came")
        batch: Batch = []
        while not batch and not decoder.finished and decoder.failure is None:
            batch = decoder.feed(await reply.read())
        progress.resume()
        return batch

    async def _refused(self, reply: Reply, dialect: Dialect, attempt: Attempt, progress: Progress) -> GatewayError:
        """The answer to a status that is not 200: nothing was made, nothing is billed, even if the body breaks off."""
        try:
            body = await reply.read_all(MAX_ERROR_BODY)
        except UpstreamFailure as failure:
            body = b""
            progress.detail = failure.detail
        progress.resume()
        attempt.refused(reply.status)
        return dialect.error(reply.status, reply.headers, body, attempt.deployment)

    def _bad_start(self, failure: Event | None, dialect: Dialect, attempt: Attempt, progress: Progress) -> GatewayError:
        """The answer to a 200 that is empty or begins with an error."""
        if failure is None:
            attempt.refused_in_stream(500)
            progress.detail = "an empty stream"
            return GatewayError(UPSTREAM_ERROR, "The upstream's stream held no answer.")
        attempt.refused_in_stream(failure.error)
        return dialect.error(failure.error, {}, failure.data, attempt.deployment)


async def _has_room(progress: Progress) -> bool:
    """Whether another attempt may be made: with one before that may have been billed, both have to be reserved."""
    if progress.held is None:
        return True
    try:
        await progress.held.again(billed=progress.reached)
    except GatewayError as error:
        progress.detail = f"no other attempt: {error.message}"
        return False
    return True


def _may_fall_back(error: GatewayError) -> bool:
    """Whether another deployment may do better: not where the request itself was at fault."""
    return error.outcome in (Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT)


def failed(failure: UpstreamFailure, progress: Progress) -> GatewayError:
    """What a failure of the transport means to the caller; the detail stays with the operator."""
    progress.detail = failure.detail
    progress.resume()
    if failure.failure in TIMEOUTS:
        return GatewayError(UPSTREAM_TIMEOUT, "The upstream did not answer in time.")
    if failure.failure is Failure.CONNECT:
        return GatewayError(UPSTREAM_ERROR, "The upstream could not be reached.")
    return GatewayError(UPSTREAM_ERROR, "The upstream's answer broke off.")


def malformed(error: ValueError, progress: Progress) -> GatewayError:
    """What an answer that is none means to the caller."""
    progress.detail = str(error)
    progress.resume()
    return GatewayError(UPSTREAM_ERROR, "The upstream's answer is malformed.")
