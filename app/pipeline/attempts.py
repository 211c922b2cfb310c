"""One request to one endpoint, from start to end: who is in flight, how it went, what the metrics learn of it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from app.cells import Counter, Gauge, Histogram, Tally
from app.errors import Failure, UpstreamFailure
from app.exchange import Arm, Call, Endpoint
from app.pipeline.endpoints import EndpointState
from app.table import Deployment
from app.telemetry import ATTEMPTS, FIRST_CHUNK, IN_FLIGHT, OPERATION_DURATION, PER_CHUNK, Telemetry

_RETRYABLE = frozenset({429, 503})
_UNREACHABLE = frozenset({Failure.CONNECT, Failure.CONNECT_TIMEOUT})


class Series:
    """The metrics of attempts that share their labels, each looked up once."""

    __slots__ = ("_deployment", "_results", "_telemetry", "arm", "first_chunk", "in_flight", "labels", "per_chunk")

    def __init__(self, telemetry: Telemetry, call: Call, arm: Arm, deployment: Deployment) -> None:
        self._telemetry = telemetry
        self._deployment = deployment.name
        self.arm = arm
        self.labels = (call.operation, deployment.provider, call.model, deployment.name, arm)
        self._results: dict[str, tuple[Counter, Histogram]] = {}
        self.in_flight: Gauge = telemetry.gauge(IN_FLIGHT, deployment.name)
        self.first_chunk: Histogram = telemetry.histogram(FIRST_CHUNK, *self.labels)
        self.per_chunk: Histogram = telemetry.histogram(PER_CHUNK, *self.labels)

    def ended(self, result: str, seconds: float) -> None:
        """An attempt has ended with this result after so many seconds."""
        held = self._results.get(result)
        if held is None:
            count = self._telemetry.counter(ATTEMPTS, self._deployment, self.arm, result)
            error = "" if result == "ok" else result
            held = self._results[result] = count, self._telemetry.histogram(OPERATION_DURATION, *self.labels, error)
        held[0].inc()
        held[1].observe(seconds)


class Attempt:
    """Ends exactly once, with a result that becomes a label: `ok`, a status, a `Failure`, or why it was cut short."""

    __slots__ = (
        "_chunk_at", "_clock", "_gaps", "_series", "_state", "_trial", "answers", "began", "deployment", "ended_at",
        "first_at", "gambled", "result", "retryable", "stream",
    )  # fmt: skip

    def __init__(
        self, deployment: Deployment, state: EndpointState, series: Series, clock: Callable[[], float], *, stream: bool
    ) -> None:
        self.deployment = deployment
        self.stream = stream
        self.retryable = False
        self.gambled = False
        """Failed on trial: that was the gateway's idea, so another endpoint may be asked, whatever the failure."""
        self.answers = False
        self._state = state
        self._series = series
        self._clock = clock
        self._gaps: Tally | None = None
        self.result = ""
        """How it ended; empty until then."""
        self.first_at = self.ended_at = 0.0
        self.began = self._chunk_at = perf_counter()
        state.in_flight += 1
        series.in_flight.inc()
        self._trial = not state.up
        if self._trial:
            state.trials += 1

    @property
    def endpoint(self) -> Endpoint:
        """Where it goes."""
        return self._state.endpoint

    @property
    def arm(self) -> Arm:
        """The role in which the deployment is asked."""
        return self._series.arm

    @property
    def labels(self) -> tuple[str, str, str, str, str]:
        """Those of its metrics: operation, provider, model, deployment, arm."""
        return self._series.labels

    def answering(self, now: float) -> None:
        """The first events are here: from now on the attempt belongs to its answer."""
        self.answers = True
        self._state.answered()
        if self.stream:
            self._series.first_chunk.observe(now - self.began)
            self.first_at = self._chunk_at = now
            self._gaps = Tally(self._series.per_chunk)

    def chunk(self, now: float) -> None:
        """More events have come."""
        if self._gaps is not None:
            self._gaps.observe(now - self._chunk_at)
        self._chunk_at = now

    def refused(self, status: int) -> None:
        """The upstream answered with an error status."""
        self.retryable = status in _RETRYABLE
        if status >= 500:
            self.gambled = self._trial
            self._state.erred(self._clock())
        else:
            self._state.answered()
        self.end(str(status))

    def refused_in_stream(self, status: int) -> None:
        """The stream's first event was an error: nothing has been made, so any fault of its own may be retried."""
        self.refused(status)
        self.retryable = status == 429 or status >= 500

    def failed(self, failure: UpstreamFailure) -> None:
        """No complete response came."""
        if failure.failure in _UNREACHABLE:
            self.retryable = True
            self._state.unreachable(self._clock())
        elif failure.failure is not Failure.TOTAL_TIMEOUT:
            self._state.erred(self._clock())
        self.end(failure.failure)

    def end(self, result: str) -> None:
        """It is over; only the first call counts."""
        if self.result:
            return
        self.result = result
        if self._gaps is not None:
            self._gaps.flush()
        self._state.in_flight -= 1
        self._series.in_flight.inc(-1.0)
        if self._trial:
            self._state.trials -= 1
        self.ended_at = now = perf_counter()
        self._series.ended(result, now - self.began)

    def end_unless_answering(self) -> None:
        """The attempt is left behind: the caller went away while it was under way."""
        if not self.answers:
            self.end("cancelled")


class Attempts:
    """Begins attempts."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._series: dict[tuple[str, str, str, str, str], Series] = {}

    def begin(self, call: Call, arm: Arm, deployment: Deployment, state: EndpointState) -> Attempt:
        """An attempt that is in flight from now on."""
        key = (call.operation, deployment.provider, call.model, deployment.name, arm)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(self._telemetry, call, arm, deployment)
        return Attempt(deployment, state, series, self._clock, stream=call.stream)
