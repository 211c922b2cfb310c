"""Stage 10: what is a request charged? Pure arithmetic on tokens and prices."""

from __future__ import annotations

from app.exchange import Call, Count, Method, Usage
from app.metering import Charge
from app.pipeline.bound import output_bound, prompt_bound
from app.prices import charge
from app.table import Deployment


def settle(
    call: Call,
    deployment: Deployment,
    reported: Usage | None,
    counted: int,
    *,
    finished: bool,
    prompt: Count | None = None,
) -> Usage:
    """The usage that a request which reached `deployment` is charged. `prompt` is what is known of its prompt.

    `reported` is the provider's latest word, `counted` the output tokens that we saw. A finished answer is charged
    what was reported. One that was cut short is charged what was counted plus the deployment's `cancel_allowance`,
    within the request's own bound; when it was not a stream nothing was seen, and it is charged at its bound.
    """
    if finished and reported is not None:
        return reported
    bound = output_bound(call, deployment)
    read = reported.input_tokens if reported is not None else prompt_bound(call, deployment, prompt)
    cached, written = (reported.cached_input_tokens, reported.cache_write_tokens) if reported is not None else (0, 0)
    if finished:
        return Usage(read, min(counted, bound), cached, written, method=Method.AT_LEAST)
    if not call.stream or deployment.cancel_allowance is None:
        return Usage(read, bound, cached, written, method=Method.BOUND)
    seen = counted if reported is None else max(counted, reported.output_tokens)
    return Usage(read, min(seen + deployment.cancel_allowance, bound), cached, written, method=Method.AT_LEAST)


def charged(call: Call, deployment: Deployment, usage: Usage) -> Charge:
    """Tokens and nano-USD of a usage. Where only the bound is known, every token costs what the dearest kind costs."""
    if usage.method is Method.BOUND:
        nano = -(-deployment.price.bound(usage.input_tokens, usage.output_tokens, call.images) // 1000)
        return Charge(usage.input_tokens + usage.output_tokens, nano)
    return charge(usage, deployment.price, call.images)
