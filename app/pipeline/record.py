"""Stage 11: what is known of a request once it has ended goes to the metrics and the access log, exactly once."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol

from app.exchange import JsonObject, Usage
from app.pipeline.progress import STAGES, Progress
from app.telemetry import COST, FIRST_TOKEN, OVERHEAD, PER_TOKEN, REQUESTS, TOKEN_USAGE, Telemetry


class AccessLog(Protocol):
    """Takes one line per request, without waiting."""

    def write(self, line: JsonObject) -> None:
        """Queue a line; a full queue drops it and counts the drop."""


class Recorder:
    """Writes the record of each request. `tenants` bounds the tenant label: the rest is `other`."""

    def __init__(self, telemetry: Telemetry, log: AccessLog, tenants: int) -> None:
        self._telemetry = telemetry
        self._log = log
        self._room = tenants
        self._labels: dict[str, str] = {}
        self._stages = tuple(telemetry.histogram(OVERHEAD, stage) for stage in STAGES)
        self._total = telemetry.histogram(OVERHEAD, "total")

    def record(self, progress: Progress) -> None:
        """The request has ended: one outcome, its tokens and cost, its times, one line."""
        telemetry = self._telemetry
        call, deployment, usage = progress.call, progress.deployment, progress.usage
        known = call is not None and deployment is not None
        model = call.model if call is not None and known else "-"
        name = deployment.name if deployment is not None else "-"
        arm = progress.arm or "-"
        tenant = self._tenant(progress.principal.tenant) if progress.principal is not None else "-"
        telemetry.counter(REQUESTS, model, name, arm, tenant, progress.outcome).inc()
        if usage is not None and call is not None and deployment is not None and progress.reached:
            labels = (call.operation, deployment.provider, call.model, name, arm)
            telemetry.histogram(TOKEN_USAGE, "input", *labels).observe(usage.input_tokens)
            telemetry.histogram(TOKEN_USAGE, "output", *labels).observe(usage.output_tokens)
            telemetry.counter(COST, model, name, arm, tenant).inc(progress.cost / 1e9)
            if progress.first_at and call.stream:
                self._stream_times(progress, usage, model, name, arm)
        own = progress.own
        for stage, histogram in enumerate(self._stages):
            if own[stage]:
                histogram.observe(own[stage])
        self._total.observe(sum(own))
        self._log.write(_line(progress, model))

    def _stream_times(self, progress: Progress, usage: Usage, *labels: str) -> None:
        self._telemetry.histogram(FIRST_TOKEN, *labels).observe(progress.first_at - progress.began)
        if usage.output_tokens > 1 and progress.last_at > progress.first_at:
            per_token = (progress.last_at - progress.first_at) / (usage.output_tokens - 1)
            self._telemetry.histogram(PER_TOKEN, *labels).observe(per_token)

    def _tenant(self, name: str) -> str:
        label = self._labels.get(name)
        if label is None:
            label = name if len(self._labels) < self._room else "other"
            if label == name:
                self._labels[name] = label
        return label


def _line(progress: Progress, model: str) -> JsonObject:
    """The access line; its fields are declared in `telemetry.LOG_FIELDS`. What does not apply is left out."""
    usage, principal, error = progress.usage, progress.principal, progress.error
    line: JsonObject = {
        "ts": datetime.now(UTC),
        "event": "request",
        "request_id": progress.request_id,
        "operation": progress.operation,
        "model": model,
        "outcome": progress.outcome,
        "duration_ms": _ms(perf_counter() - progress.began),
        "overhead_ms": _ms(sum(progress.own)),
        "attempts": progress.attempts,
    }
    if progress.status:
        line["status"] = progress.status
    if principal is not None:
        line["tenant"] = principal.tenant
        line["key"] = principal.key
    if progress.deployment is not None:
        line["deployment"] = progress.deployment.name
        line["arm"] = progress.arm
    if progress.call is not None:
        line["stream"] = progress.call.stream
    if usage is not None:
        line["input_tokens"] = usage.input_tokens
        line["output_tokens"] = usage.output_tokens
        line["usage"] = usage.method
        line["cost_usd"] = progress.cost / 1e9
    if progress.first_at and progress.call is not None and progress.call.stream:
        line["first_token_ms"] = _ms(progress.first_at - progress.began)
    if error is not None:
        line["code"] = error.code_name
    if progress.detail is not None:
        line["detail"] = progress.detail[:500]
    return line


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
