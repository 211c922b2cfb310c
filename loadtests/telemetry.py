"""What telemetry costs a request and a chunk, in CPU time: `python -m loadtests.telemetry`.

Metrics, spans at 1 % sampling, the access line (written to /dev/null by its thread, whose time counts too), with the
gateway's own objects and without a network. Budgets of the design: 26 µs a request, 2 µs a chunk.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import orjson

from app.cells import Cells
from app.config import load
from app.errors import Outcome
from app.exchange import Arm, Call, Event, Operation, Outbound, Principal, Usage
from app.logs import LineLog
from app.metering import Charge
from app.otlp import Span, encode
from app.pipeline.attempts import Attempts
from app.pipeline.endpoints import Endpoints
from app.pipeline.progress import Progress
from app.pipeline.record import Recorder
from app.pipeline.spans import Tracer
from app.pipeline.validate import validate
from app.table import Deployment, build
from app.telemetry import DROPPED, Telemetry

REQUESTS, CHUNKS = 20_000, 200_000
SHARE = 0.01
CONFIG = """
deployments: [{name: one, provider: vllm, base_url: "http://127.0.0.1:8000/v1", model: llama, context_window: 8192,
  max_output_tokens: 1024, price: {input: 0.05, output: 0.08}}]
models: [{name: chat, stable: one}]
"""
BODY = orjson.dumps({"model": "chat", "temperature": 0.2, "messages": [{"role": "user", "content": "Hello!"}]})
HEADERS = [(name, b"x" * 12) for name in (b"host", b"authorization", b"content-type", b"content-length", b"accept")]
OUTBOUND = Outbound("POST", "/chat/completions", (("content-type", "application/json"),), BODY, stream=False)


class Sink:
    """Encodes what it is given at once: what the exporter does off the path counts here."""

    def submit(self, spans: list[Span]) -> None:
        """Encode them."""
        for span in spans:
            encode(span)


class Parts(NamedTuple):
    """What a worker has."""

    tracer: Tracer
    recorder: Recorder
    attempts: Attempts
    endpoints: Endpoints
    deployment: Deployment
    call: Call
    log: LineLog


def parts() -> Parts:
    """A worker's telemetry, its log going nowhere."""
    telemetry = Telemetry(Cells())
    dropped = telemetry.counter(DROPPED, "spans")
    log = LineLog("json", telemetry.counter(DROPPED, "log_lines"), os.open(os.devnull, os.O_WRONLY))
    tracer = Tracer(Sink(), SHARE, 10.0, dropped)
    clock = asyncio.get_running_loop().time
    deployment = build(load(CONFIG, {})).deployments["one"]
    call = validate(Operation.CHAT, BODY)
    recorder = Recorder(telemetry, log, tracer, 200)
    return Parts(tracer, recorder, Attempts(telemetry, clock), Endpoints(clock), deployment, call, log)


def request(made: Parts) -> None:
    """One request's telemetry, from its first header to its access line."""
    progress = Progress(f"req_{os.urandom(16).hex()}", Operation.CHAT)
    progress.principal, progress.call = Principal("team", "ci"), made.call
    progress.trace = made.tracer.begin(progress.request_id, "/v1/chat/completions", HEADERS)
    progress.deployment, progress.arm, progress.attempts = made.deployment, Arm.STABLE, 1
    state = made.endpoints.choose(made.deployment, set(), last_resort=True)
    if state is None:
        raise AssertionError("there is one")
    attempt = made.attempts.begin(made.call, Arm.STABLE, made.deployment, state)
    if progress.trace is not None:
        progress.trace.attempt(attempt, OUTBOUND)
    attempt.answering(progress.resumed)
    attempt.end("ok")
    for stage in range(len(progress.own)):
        progress.own[stage] = 1e-5
    progress.outcome, progress.reached, progress.status = Outcome.OK, True, 200
    progress.usage, progress.charge, progress.bound = Usage(10, 5), Charge(15, 1000), (10, 1024)
    made.recorder.record(progress)


def timed(work: Callable[[], None], count: int) -> float:
    """CPU microseconds of this process per turn, the better of three runs."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for _ in range(count):
            work()
        best = min(best, time.process_time() - began)
    return best / count * 1e6


def chunk(made: Parts) -> Callable[[], None]:
    """One more chunk of a stream: what its attempt and its request note of it."""
    state = made.endpoints.choose(made.deployment, set(), last_resort=True)
    if state is None:
        raise AssertionError("there is one")
    attempt = made.attempts.begin(made.call._replace(stream=True), Arm.STABLE, made.deployment, state)
    progress = Progress("req_0", Operation.CHAT)
    attempt.answering(progress.resumed)
    batch = [Event(b"{}", {}, tokens=1)]

    def noted() -> None:
        attempt.chunk(progress.resumed)
        progress.see(batch)

    return noted


async def main() -> None:
    """Print both."""
    made = parts()
    turns = 20

    async def requests() -> float:
        began = time.process_time()
        for _ in range(turns):
            for _ in range(REQUESTS // turns):
                request(made)
            await asyncio.sleep(0.15)  # the log leaves in batches
        return (time.process_time() - began) / REQUESTS * 1e6

    best = min([await requests() for _ in range(3)])
    print(f"request: {best:.1f} µs CPU for metrics, spans at {SHARE:.0%} and the access line (budget 26)")
    print(f"chunk: {timed(chunk(made), CHUNKS):.2f} µs CPU (budget 2)")
    made.log.close()


if __name__ == "__main__":
    asyncio.run(main())
