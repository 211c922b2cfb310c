"""One request to one endpoint, from its start to its end: who is in flight, how it went, what the metrics learn of it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from app.cells import Histogram
from app.errors import Failure, UpstreamFailure
from app.exchange import Arm, Call, Endpoint
from app.pipeline.endpoints import EndpointState
from app.table import Deployment
from app.telemetry import ATTEMPTS, FIRST_CHUNK, IN_FLIGHT, OPERATION_DURATION, PER_CHUNK, Telemetry

_RETRYABLE = frozenset({429, 503})
_HARD = frozenset({Failure.CONNECT, Failure.CONNECT_TIMEOUT})


class Attempt:
    """Ends exactly once, with a result that becomes a label: `ok`, a status, a `Failure`, or why it was cut short."""

    __slots__ = (
        "_began",
        "_chunk_at",
        "_clock",
        "_ended",
        "_labels",
        "_per_chunk",
        "_state",
        "_telemetry",
        "answers",
        "arm",
        "deployment",
        "retryable",
        "stream",
    )

    def __init__(
        self,
        call: Call,
        arm: Arm,
        deployment: Deployment,
        state: EndpointState,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self.arm = arm
        self.deployment = deployment
        self.stream = call.stream
        self.retryable = False
        self.answers = False
        self._state = state
        self._telemetry = telemetry
        self._clock = clock
        self._labels = (call.operation, deployment.provider, call.model, deployment.name, arm)
        self._ended = False
        self._per_chunk: Histogram | None = None
        self._began = self._chunk_at = perf_counter()
        state.in_flight += 1
        telemetry.gauge(IN_FLIGHT, deployment.name).inc()

    @property
    def endpoint(self) -> Endpoint:
        """Where it goes."""
        return self._state.endpoint

    def answering(self, now: float) -> None:
        """The first events are here: from now on the attempt belongs to its answer."""
        self.answers = True
        self._state.succeeded()
        if self.stream:
            self._telemetry.histogram(FIRST_CHUNK, *self._labels).observe(now - self._began)
            self._per_chunk = self._telemetry.histogram(PER_CHUNK, *self._labels)
            self._chunk_at = now

    def chunk(self, now: float) -> None:
        """More events have come."""
        if self._per_chunk is not None:
            self._per_chunk.observe(now - self._chunk_at)
        self._chunk_at = now

    def refused(self, status: int) -> None:
        """The upstream answered with an error status."""
        self.retryable = status in _RETRYABLE
        if status >= 500:
            self._state.failed(self._clock(), hard=False)
        self.end(str(status))

    def refused_in_stream(self, status: int) -> None:
        """The stream's first event was an error: nothing has been made, so any of its own faults may be retried."""
        self.refused(status)
        self.retryable = status == 429 or status >= 500

    def failed(self, failure: UpstreamFailure) -> None:
        """No complete response came."""
        hard = failure.failure in _HARD
        self.retryable = hard and not self.answers
        if hard or failure.failure is not Failure.TOTAL_TIMEOUT:
            self._state.failed(self._clock(), hard=hard)
        self.end(failure.failure)

    def end(self, result: str) -> None:
        """It is over; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        self._state.in_flight -= 1
        telemetry = self._telemetry
        telemetry.gauge(IN_FLIGHT, self.deployment.name).inc(-1.0)
        telemetry.counter(ATTEMPTS, self.deployment.name, self.arm, result).inc()
        error = "" if result == "ok" else result
        telemetry.histogram(OPERATION_DURATION, *self._labels, error).observe(perf_counter() - self._began)

    def end_unless_answering(self) -> None:
        """The attempt is left behind: the caller went away while it was under way."""
        if not self.answers:
            self.end("cancelled")


class Attempts:
    """Begins attempts."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._clock = clock

    def begin(self, call: Call, arm: Arm, deployment: Deployment, state: EndpointState) -> Attempt:
        """An attempt that is in flight from now on."""
        return Attempt(call, arm, deployment, state, self._telemetry, self._clock)
