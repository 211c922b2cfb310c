"""The whole path in process, before upstreams that follow a script and can cut the caller off at any await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.errors import GatewayError, UpstreamFailure
from app.exchange import Batch, Call, Count, CountMethod, Endpoint, JsonObject, Operation, Outbound, Result, Timeouts
from app.pipeline.admit import Admission
from app.pipeline.attempts import Attempts
from app.pipeline.call import Caller
from app.pipeline.counting import body_bound
from app.pipeline.endpoints import Endpoints
from app.pipeline.fit import Fitter
from app.pipeline.ledger import Ledger
from app.pipeline.mirror import Mirror
from app.pipeline.observe import Observer
from app.pipeline.progress import LEFT, Progress
from app.pipeline.record import Recorder
from app.pipeline.reserve import Reserver
from app.pipeline.retries import RetryBudgets
from app.pipeline.serve import Arrival, Services, serve
from app.providers.registry import DIALECTS
from app.safety.guards import Guards
from app.stores.memory import MemoryStore
from app.table import Deployment, Shadow, Watch
from app.telemetry import IN_FLIGHT, REQUESTS
from tests.pipeline.parts import Counted, Lines, no_tracer, state
from tests.support.configs import ENVIRON
from tests.support.entries import Journal

KEY = ENVIRON["SLUICEGATE_CI_KEY"].encode()
EVENTS = {"content-type": "text/event-stream"}


def chunk(text: str | None = None, *, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One event of a stream."""
    choices = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    doc: JsonObject = {"choices": choices if text or finish else []}
    return b"data: %b\n\n" % orjson.dumps(doc | ({"usage": usage} if usage else {}))


DONE = b"data: [DONE]\n\n"
STREAM = (
    chunk("a"),
    chunk("b"),
    chunk("c", finish="stop"),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 3}),
    DONE,
)
WHOLE = orjson.dumps({"choices": [{"message": {}}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})


class Reply:
    """What an upstream answers: pieces, and failures between them."""

    def __init__(
        self, *pieces: bytes | UpstreamFailure, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.headers = EVENTS if headers is None else headers
        self.pieces = list(pieces)
        self.closed = 0
        self.drained = False
        self.path: Path | None = None

    async def read(self, tap: Callable[[bytes], bool] | None = None) -> bytes:
        """The next piece that the tap leaves, or the failure in its place."""
        assert self.path is not None
        while True:
            assert not self.closed, "read after close"
            await self.path.tick()
            piece = self.pieces.pop(0) if self.pieces else b""
            if isinstance(piece, UpstreamFailure):
                raise piece
            if not piece or tap is None or not tap(piece):
                return piece

    async def read_all(self, limit: int) -> bytes:
        """All pieces."""
        data = b""
        while piece := await self.read():
            data += piece
        assert len(data) <= limit
        return data

    def close(self, *, drain: bool = False) -> None:
        """Count it."""
        self.closed += 1
        self.drained = drain


class NoCounter:
    """Knows no more than the bound; with `exact`, that a prompt has so many tokens."""

    def __init__(self, exact: int | None = None) -> None:
        self.exact = exact

    async def body_bound(self, call: Call) -> int:
        """The bound from bytes."""
        return body_bound(call)

    async def count(self, call: Call, deployment: Deployment, known: Count) -> Count:
        """Nothing better, or what it was told."""
        return known if self.exact is None else Count(self.exact, self.exact, self.exact, CountMethod.EXACT)


class Outlet:
    """The caller's socket for what needs no look; `full_at` is how many pieces fit."""

    def __init__(self, full_at: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.full_at = full_at

    @property
    def full(self) -> bool:
        """Whether no more fit."""
        return len(self.pieces) == self.full_at

    def relay(self, piece: bytes) -> bool:
        """Take one."""
        self.pieces.append(piece)
        return True


class Unheard:
    """Notes of a gateway without rollouts: nobody tells them anything."""

    def started(
        self, watch: Watch, request_id: str, unit: float | None, peek: Callable[[], Result], *, candidate: bool
    ) -> bool:
        """Never called."""
        raise AssertionError(request_id)

    def ended(self, watch: Watch, request_id: str, result: Result, *, candidate: bool, observed: bool) -> None:
        """Never called."""
        raise AssertionError(request_id)


class Unsent:
    """Copies of a gateway without shadows: nobody asks for any."""

    def room(self, shadow: Shadow) -> bool:
        """Never called."""
        raise AssertionError(shadow)

    def leave(self, shadow: Shadow) -> None:
        """Never called."""
        raise AssertionError(shadow)

    def send(self, shadow: Shadow, progress: Progress) -> None:
        """Never called."""
        raise AssertionError(shadow)


class Path:
    """One gateway in process. `cut_at` is the await at which the caller leaves, counted from 0; None for never.

    `held` places are taken by other requests; without `patient` there is no budget for retries.
    `exact` is what prompts count that might not fit.
    """

    def __init__(
        self,
        *script: Reply | UpstreamFailure,
        cut_at: int | None = None,
        held: int = 0,
        patient: bool = True,
        changes: dict[str, Any] | None = None,
        exact: int | None = None,
    ) -> None:
        usual = {
            "deployments[0].health": None,
            "deployments[0].template_tokens": 0,
            "deployments[1].template_tokens": 0,
            "models[0].fallbacks": ["two"],
            "server.max_in_flight": 5,
        }
        self.state = state({**usual, **(changes or {})})
        self.telemetry, self.log = Counted(), Lines()
        self.admission = Admission(self.state)
        self.admission.in_flight = self.held = held
        loop = asyncio.get_running_loop()
        retries = RetryBudgets(self.telemetry)
        while not patient and all([retries.spend("one"), retries.spend("two")]):
            pass
        self.limits = MemoryStore()
        self.journal = Journal()
        self.ledger = Ledger(self.journal)
        attempts = Attempts(self.telemetry, loop.time)
        caller = Caller(self, DIALECTS, Endpoints(loop.time), retries, attempts, self.ledger)
        tracer = no_tracer(self.telemetry)
        recorder = Recorder(self.telemetry, self.log, tracer, 200)
        observer, mirror, reserver = Observer(Unheard()), Mirror(Unsent()), Reserver(self.limits)
        fitter = Fitter(NoCounter(exact), self.telemetry)
        self.services = Services(
            self.state,
            self.admission,
            fitter,
            reserver,
            caller,
            self.ledger,
            recorder,
            observer,
            mirror,
            tracer,
            Guards(),
        )
        self.script, self.used = list(script), [one for one in script if isinstance(one, Reply)]
        self.sent: list[Outbound] = []
        self.ticks = 0
        self.cut_at = cut_at
        self.body_reads = 0
        self.on_send: Callable[[], None] = lambda: None

    async def tick(self) -> None:
        """An await; the caller may leave in it."""
        self.ticks += 1
        if self.cut_at == self.ticks - 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel(LEFT)
        await asyncio.sleep(0)

    async def send(self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float) -> Reply:
        """The transport's one method."""
        self.sent.append(request)
        self.on_send()
        await self.tick()
        step = self.script.pop(0)
        if isinstance(step, UpstreamFailure):
            raise step
        step.path = self
        return step

    async def ask(
        self,
        fields: JsonObject | bytes | None = None,
        *,
        credentials: tuple[bytes, ...] = (KEY,),
        batches: int | None = None,
        outlet: Outlet | None = None,
    ) -> tuple[list[Batch], GatewayError | None, JsonObject]:
        """One request to its end: what came, the error, the line. `batches` is after how many the caller leaves."""
        usual = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
        body = fields if isinstance(fields, bytes) else orjson.dumps({**usual, **(fields or {})})

        async def read_body(limit: int) -> bytes:
            self.body_reads += 1
            await self.tick()
            return body

        got: list[Batch] = []

        async def deliver(batch: Batch) -> None:
            got.append(batch)
            if batches == len(got):
                self.cut_at = self.ticks
            await self.tick()

        error: GatewayError | None = None
        progress = Progress("req_1", Operation.CHAT)
        try:
            await serve(Arrival(credentials, read_body, outlet=outlet), progress, self.services, deliver)
        except GatewayError as caught:
            error = caught
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        return got, error, self.settled()

    def settled(self) -> JsonObject:
        """The one line; nothing is left open."""
        assert len(self.log.written) == 1, "a request has one record"
        assert self.telemetry.total(REQUESTS) == 1
        assert self.telemetry.total(IN_FLIGHT) == 0
        assert self.admission.in_flight == self.held
        assert all(reply.closed == 1 for reply in self.used if reply.path is not None)
        return self.log.written[0]
