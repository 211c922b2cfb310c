"""The spans of a request, made once it has ended and only if they are kept: one for it, one per upstream attempt.

A request pays for its ids and, if it is kept, for its spans; nothing is made for one that is not. Kept are those that
were sampled at the start, and whatever ended in an error, was cut or was slow, up to `MOST_KEPT` a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from app import semconv
from app.cells import Counter
from app.errors import Outcome
from app.exchange import Call, JsonObject
from app.otlp import CLIENT, INTERNAL, SERVER, Attributes, Span
from app.pipeline.attempts import Attempt
from app.pipeline.progress import Progress
from app.pipeline.trace import Trace, begin, threshold

MOST_KEPT = 100
"""Traces a second and worker that are kept though they were not sampled: an outage must not cost more than traffic."""
_BAD: Mapping[Outcome, str] = {
    Outcome.CLIENT_CLOSED: "cut",
    Outcome.CUT_GUARD: "cut",
    Outcome.UPSTREAM_REJECTED: "error",
    Outcome.UPSTREAM_ERROR: "error",
    Outcome.UPSTREAM_TIMEOUT: "error",
    Outcome.INTERNAL_ERROR: "error",
}
"""Outcomes that are kept. What was refused is not: strangers could fill the collector."""
_FAILED = frozenset({Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT, Outcome.INTERNAL_ERROR, Outcome.OVERLOADED})
_NUMBERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "seed": semconv.REQUEST_SEED,
    "frequency_penalty": semconv.REQUEST_FREQUENCY,
    "presence_penalty": semconv.REQUEST_PRESENCE,
}
"""Parameters of a request that are numbers. What is text may be the caller's own, and stays out."""


class SpanSink(Protocol):
    """Takes spans without waiting."""

    def submit(self, spans: list[Span]) -> None:
        """Queue the spans of one request; a full queue drops and counts them."""


class Tracer:
    """Decides which requests are traced, and makes their spans. Without a sink only contexts are handed on.

    `slow` is in seconds: to the first byte of a stream, to the end of any other answer.
    """

    def __init__(self, sink: SpanSink | None, share: float, slow: float, dropped: Counter) -> None:
        self._sink = sink
        self._limit = threshold(share) if sink is not None else None
        self._slow = slow
        self._dropped = dropped
        self._second = 0
        self._room = 0

    def begin(self, request_id: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """The trace of a request that has just arrived."""
        traceparent = tracestate = b""
        for name, value in headers:
            if name == b"traceparent":
                traceparent = value
            elif name == b"tracestate":
                tracestate = tracestate + b"," + value if tracestate else value
        if self._limit is None and not traceparent:
            return None
        return begin(request_id, path, traceparent, tracestate, self._limit)

    def ended(self, progress: Progress, own: float) -> bool:
        """The request has ended, `own` seconds of it spent here. Whether its trace is kept."""
        trace = progress.trace
        if trace is None or not trace.ours or self._sink is None:
            return False
        now = time.perf_counter()
        why = "sampled" if trace.sampled else self._why(progress, now)
        if not why:
            return False
        spans = _Maker(trace, now).spans(progress, own, why)
        if why != "sampled" and not self._has_room(now):
            self._dropped.inc(len(spans))
            return False
        self._sink.submit(spans)
        return True

    def _why(self, progress: Progress, now: float) -> str:
        bad = _BAD.get(progress.outcome, "")
        if not bad and (progress.first_at or now) - progress.began > self._slow:
            return "slow"
        return bad

    def _has_room(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._room = int(now), MOST_KEPT
        self._room -= 1
        return self._room >= 0


class _Maker:
    """Makes the spans of one request that ended `now`."""

    def __init__(self, trace: Trace, now: float) -> None:
        self._trace = trace
        self._now = now
        self._wall = time.time_ns()

    def spans(self, progress: Progress, own: float, why: str) -> list[Span]:
        """Its own, then its children's."""
        trace = self._trace
        failed = progress.outcome in _FAILED
        error = (progress.error.code_name if progress.error is not None else str(progress.outcome)) if failed else None
        spans = [
            self._span(0, f"POST {trace.path}", SERVER, (progress.began, self._now), _served(progress, own, why), error)
        ]
        last = len(trace.attempts)
        for number, attempt in enumerate(trace.attempts, 1):
            attributes = _attempted(progress, attempt, number)
            if number == last and progress.reached:
                attributes += _answered(progress)
            name = f"{progress.operation} {attempt.deployment.model}"
            times = attempt.began, attempt.ended_at or self._now
            spans.append(self._span(number, name, CLIENT, times, attributes, _fault(attempt)))
        for number, stage in enumerate(trace.stages, last + 1):
            times = stage.began, stage.ended
            spans.append(self._span(number, stage.name, INTERNAL, times, list(stage.attributes), stage.error))
        return spans

    def _span(
        self, number: int, name: str, kind: int, times: tuple[float, float], attributes: Attributes, error: str | None
    ) -> Span:
        trace = self._trace
        span_id = trace.child_id(number) if number else trace.span_id
        parent_id = trace.span_id if number else trace.parent_id
        began, ended = (self._wall - int((self._now - at) * 1e9) for at in times)
        return Span(trace.trace_id, span_id, parent_id, trace.state, name, kind, began, ended, attributes, error)


def _fault(attempt: Attempt) -> str | None:
    """What went wrong with an attempt; being left by its caller is nothing of its own."""
    return None if attempt.result in ("ok", "cut", "cancelled") else attempt.result


def _served(progress: Progress, own: float, why: str) -> Attributes:
    """What the server span tells."""
    principal, deployment, call = progress.principal, progress.deployment, progress.call
    attributes: Attributes = [
        (semconv.HTTP_METHOD, "POST"),
        (semconv.URL_PATH, progress.trace.path if progress.trace is not None else ""),
        (semconv.REQUEST_ID, progress.request_id),
        (semconv.OUTCOME, str(progress.outcome)),
        (semconv.ATTEMPTS, progress.attempts),
        (semconv.COST, progress.cost / 1e9),
        (semconv.OVERHEAD, own),
        (semconv.KEPT, why),
    ]
    if progress.status:
        attributes.append((semconv.HTTP_STATUS, progress.status))
    if principal is not None:
        attributes += [(semconv.TENANT, principal.tenant), (semconv.KEY, principal.key)]
    if deployment is not None and call is not None:
        attributes += [
            (semconv.MODEL, call.model),
            (semconv.DEPLOYMENT, deployment.name),
            (semconv.ARM, str(progress.arm)),
        ]
    if progress.prompt is not None:
        attributes.append((semconv.COUNT_METHOD, str(progress.prompt.method)))
    if progress.template is not None:
        attributes.append((semconv.TEMPLATE, progress.template))
    if progress.first_at:
        attributes.append((semconv.FIRST_BYTE, progress.first_at - progress.began))
    if progress.error is not None:
        attributes.append((semconv.ERROR_TYPE, progress.error.code_name))
    elif progress.outcome is not Outcome.OK:
        attributes.append((semconv.ERROR_TYPE, str(progress.outcome)))
    return attributes


def _attempted(progress: Progress, attempt: Attempt, number: int) -> Attributes:
    """What is known of every attempt."""
    deployment, endpoint = attempt.deployment, attempt.endpoint
    attributes: Attributes = [
        (semconv.OPERATION, str(progress.operation)),
        (semconv.PROVIDER, str(deployment.provider)),
        (semconv.REQUEST_MODEL, deployment.model),
        (semconv.REQUEST_STREAM, attempt.stream),
        (semconv.SERVER_ADDRESS, endpoint.host),
        (semconv.SERVER_PORT, endpoint.port),
        (semconv.DEPLOYMENT, deployment.name),
        (semconv.ARM, str(attempt.arm)),
        (semconv.ATTEMPT, number),
    ]
    if progress.call is not None:
        attributes += _asked(progress.call)
    if attempt.result != "ok":
        attributes.append((semconv.ERROR_TYPE, attempt.result))
        if attempt.result.isdecimal():
            attributes.append((semconv.HTTP_STATUS, int(attempt.result)))
    if attempt.first_at:
        attributes.append((semconv.RESPONSE_FIRST_CHUNK, attempt.first_at - attempt.began))
    return attributes


def _asked(call: Call) -> Attributes:
    """The request's parameters, as far as they are numbers of a size that OTLP can say."""
    attributes: Attributes = []
    if call.max_output_tokens is not None and call.max_output_tokens < 2**63:
        attributes.append((semconv.REQUEST_MAX_TOKENS, call.max_output_tokens))
    if call.choices > 1:
        attributes.append((semconv.REQUEST_CHOICES, call.choices))
    for field, name in _NUMBERS.items():
        value = call.body.get(field)
        if type(value) is float or (type(value) is int and abs(value) < 2**63):
            attributes.append((name, value))
    return attributes


def _answered(progress: Progress) -> Attributes:
    """What the attempt that answered adds: usage, and what the answer says about itself."""
    attributes: Attributes = []
    if progress.usage is not None:
        usage = progress.usage
        attributes += [(semconv.USAGE_INPUT, usage.input_tokens), (semconv.USAGE_OUTPUT, usage.output_tokens)]
        optional = (
            (semconv.USAGE_CACHED, usage.cached_input_tokens),
            (semconv.USAGE_CACHE_WRITE, usage.cache_write_tokens),
            (semconv.USAGE_REASONING, usage.reasoning_tokens),
        )
        attributes += [(name, count) for name, count in optional if count]
    docs = [event.doc for batch in progress.seen for event in batch]
    for name, field in ((semconv.RESPONSE_ID, "id"), (semconv.RESPONSE_MODEL, "model")):
        value = next((doc[field] for doc in docs if isinstance(doc.get(field), str)), None)
        if value:
            attributes.append((name, value[:256]))
    reasons = _reasons(docs)
    if reasons:
        attributes.append((semconv.RESPONSE_FINISH, reasons))
    return attributes


def _reasons(docs: list[JsonObject]) -> tuple[str, ...]:
    choices = (choice for doc in docs for choice in doc.get("choices") or () if isinstance(choice, dict))
    reasons = (choice.get("finish_reason") for choice in choices)
    return tuple(reason[:64] for reason in reasons if isinstance(reason, str))
