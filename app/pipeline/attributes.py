"""What each span of a request tells, from what is known at its end. Pure; names are those of `semconv`."""

from __future__ import annotations

from app import semconv
from app.errors import Outcome
from app.exchange import Call, JsonObject
from app.otlp import Attributes
from app.pipeline.attempts import Attempt
from app.pipeline.progress import Progress
from app.pipeline.report import Report

_NUMBERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "seed": semconv.REQUEST_SEED,
    "frequency_penalty": semconv.REQUEST_FREQUENCY,
    "presence_penalty": semconv.REQUEST_PRESENCE,
}
"""Parameters of a request that are numbers. What is text may be the caller's own, and stays out."""


def served(progress: Progress, own: float, why: str) -> Attributes:
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
    return attributes + _steered(progress)


def attempted(progress: Progress, attempt: Attempt, number: int) -> Attributes:
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


def answered(progress: Progress) -> Attributes:
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


def looked(report: Report | None, stage: str) -> Attributes:
    """What a look of a guard brought."""
    if report is None:
        return []
    hits = {hit: count for hit, count in report.hits.items() if hit.stage == stage}
    ended = report.refused if stage == "prompt" else report.cut
    verdict = "passed"
    if ended:
        verdict = "refused" if stage == "prompt" else "cut"
    elif any(hit.action == "redact" for hit in hits):
        verdict = "redacted"
    attributes: Attributes = [
        (semconv.GUARD, report.guard),
        (semconv.GUARD_STAGE, stage),
        (semconv.GUARD_VERDICT, verdict),
    ]
    if hits:
        told = tuple(f"{hit.category} {hit.severity} {hit.action} {hit.detector}" for hit in hits)
        attributes.append((semconv.GUARD_HITS, told))
    if stage == "completion" and report.held:
        attributes.append((semconv.GUARD_HOLD, report.held))
    return attributes


def copied(progress: Progress) -> Attributes:
    """What the span of a copy tells."""
    call, deployment = progress.call, progress.deployment
    attributes: Attributes = [
        (semconv.REQUEST_ID, progress.request_id),
        (semconv.ARM, str(progress.arm)),
        (semconv.OUTCOME, str(progress.outcome)),
        (semconv.ATTEMPTS, progress.attempts),
        (semconv.COST, progress.cost / 1e9),
        (semconv.CHARGED, progress.charge.tokens),
    ]
    if call is not None and deployment is not None:
        attributes += [(semconv.MODEL, call.model), (semconv.DEPLOYMENT, deployment.name)]
    return attributes


def _steered(progress: Progress) -> Attributes:
    """What budgets, rollouts, shadows and guards did to a request."""
    attributes: Attributes = []
    if progress.reserved:
        attributes += [(semconv.RESERVED, progress.reserved), (semconv.CHARGED, progress.charge.tokens)]
    if progress.clamped:
        attributes.append((semconv.CLAMPED, progress.clamped))
    if progress.observed:
        attributes.append((semconv.OBSERVED, True))
    if progress.copied:
        attributes.append((semconv.COPIED, True))
    report = progress.report
    if report is not None:
        attributes.append((semconv.GUARD, report.guard))
        if report.failures:
            told = tuple(f"{detector} {reason}" for detector, reason in report.failures)
            attributes.append((semconv.GUARD_FAILURES, told))
    return attributes
