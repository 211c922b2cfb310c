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
from app.otlp import CLIENT, INTERNAL, SERVER, Attributes, Span
from app.pipeline import content
from app.pipeline.attempts import Attempt
from app.pipeline.attributes import answered, attempted, copied, looked, served
from app.pipeline.progress import Progress
from app.pipeline.trace import Trace, begin, of_copy, threshold

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


class SpanSink(Protocol):
    """Takes spans without waiting."""

    def submit(self, spans: list[Span]) -> None:
        """Queue the spans of one request; a full queue drops and counts them."""


class Tracer:
    """Decides which requests are traced, and makes their spans. Without a sink only contexts are handed on.

    `slow` is in seconds: to the first byte of a stream, to the end of any other answer. With `redact` the spans of
    sampled requests hold what was said, as it leaves that.
    """

    def __init__(
        self, sink: SpanSink | None, share: float, slow: float, dropped: Counter, redact: content.Redact | None = None
    ) -> None:
        self._redact = redact
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
        trace = begin(request_id, path, traceparent, tracestate, self._limit)
        if trace is not None and self._redact is not None:
            trace.captures = trace.sampled and trace.ours
        return trace

    def copy(self, original: Progress, request_id: str) -> Trace | None:
        """The trace of a copy of a request that has ended; None where that is not kept."""
        trace = original.trace
        return of_copy(trace, request_id) if trace is not None and trace.kept else None

    def compared(self, copy: Progress, began: float, similarity: float | None, differs: tuple[str, ...]) -> None:
        """A copy has ended, and since `began` it was compared with its original."""
        if copy.trace is None or self._sink is None:
            return
        maker = _Maker(copy.trace, time.perf_counter(), self._redact)
        self._sink.submit(maker.copy(copy, began, similarity, differs))

    def ended(self, progress: Progress, own: float) -> bool:
        """The request has ended, `own` seconds of it spent here. Whether its trace is kept."""
        trace = progress.trace
        if trace is None or not trace.ours or self._sink is None:
            return False
        now = time.perf_counter()
        why = "sampled" if trace.sampled else self._why(progress, now)
        if not why:
            return False
        spans = _Maker(trace, now, self._redact).spans(progress, own, why)
        if why != "sampled" and not self._has_room(now):
            self._dropped.inc(len(spans))
            return False
        self._sink.submit(spans)
        trace.kept = True
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

    def __init__(self, trace: Trace, now: float, redact: content.Redact | None) -> None:
        self._trace = trace
        self._now = now
        self._wall = time.time_ns()
        self._redact = redact if trace.captures else None

    def spans(self, progress: Progress, own: float, why: str) -> list[Span]:
        """Its own, then its children's."""
        times = progress.began, self._now
        root = self._span(0, f"POST {self._trace.path}", SERVER, times, served(progress, own, why), _failure(progress))
        return [root, *self._children(progress)]

    def copy(
        self, progress: Progress, compared_at: float, similarity: float | None, differs: tuple[str, ...]
    ) -> list[Span]:
        """Those of a copy: its own, its attempts', and that of the comparison."""
        times = progress.began, self._now
        name = f"shadow {progress.operation}"
        root = self._span(0, name, INTERNAL, times, copied(progress), _failure(progress))
        children = self._children(progress)
        number = len(children) + 1
        attributes: Attributes = [(semconv.EVALUATION, "similarity"), (semconv.DIFFERS, differs)]
        if similarity is not None:
            attributes.append((semconv.EVALUATION_SCORE, similarity))
        times = compared_at, self._now
        return [root, *children, self._span(number, "evaluate shadow", INTERNAL, times, attributes, None)]

    def _children(self, progress: Progress) -> list[Span]:
        """One for each attempt, one for each look of a guard."""
        trace = self._trace
        spans = []
        last = len(trace.attempts)
        for number, attempt in enumerate(trace.attempts, 1):
            attributes = attempted(progress, attempt, number)
            if number == last and progress.reached:
                attributes += answered(progress)
                attributes += self._said(progress)
            name = f"{progress.operation} {attempt.deployment.model}"
            times = attempt.began, attempt.ended_at or self._now
            spans.append(self._span(number, name, CLIENT, times, attributes, _fault(attempt)))
        report = progress.report
        for number, (stage, began, ended) in enumerate(report.looked if report is not None else (), last + 1):
            times = began, ended or self._now
            spans.append(self._span(number, f"guard {stage}", INTERNAL, times, looked(report, stage), None))
        return spans

    def _said(self, progress: Progress) -> Attributes:
        """What was asked and answered, where that is captured."""
        if self._redact is None or progress.call is None:
            return []
        told, cut = content.asked(progress.call, self._redact)
        attributes: Attributes = [(semconv.INPUT_MESSAGES, told)]
        if progress.transcript is not None:
            told, more = content.answered(progress.transcript, self._redact)
            attributes.append((semconv.OUTPUT_MESSAGES, told))
            cut = cut or more
        return [*attributes, (semconv.CONTENT_CUT, cut)] if cut else attributes

    def _span(
        self, number: int, name: str, kind: int, times: tuple[float, float], attributes: Attributes, error: str | None
    ) -> Span:
        trace = self._trace
        span_id = trace.child_id(number) if number else trace.span_id
        parent_id = trace.span_id if number else trace.parent_id
        began, ended = (self._wall - int((self._now - at) * 1e9) for at in times)
        return Span(trace.trace_id, span_id, parent_id, trace.state, name, kind, began, ended, attributes, error)


def _failure(progress: Progress) -> str | None:
    """The error of a request that failed; refusals and callers who leave are no failures."""
    if progress.outcome not in _FAILED:
        return None
    return progress.error.code_name if progress.error is not None else str(progress.outcome)


def _fault(attempt: Attempt) -> str | None:
    """What went wrong with an attempt; being left by its caller is nothing of its own."""
    return None if attempt.result in ("ok", "cut", "cancelled") else attempt.result
