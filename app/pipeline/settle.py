"""Stage 10: what is a request charged? Pure arithmetic on tokens and prices."""

from __future__ import annotations

from app.exchange import Call, Count, Method, Usage
from app.pipeline.counting import bound
from app.table import Deployment, Price

NOTHING = Usage(0, 0, method=Method.NOTHING_SENT)


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
    cached = reported.cached_input_tokens if reported is not None else 0
    if finished:
        return Usage(read, min(counted, bound), cached, method=Method.AT_LEAST)
    if not call.stream or deployment.cancel_allowance is None:
        return Usage(read, bound, cached, method=Method.BOUND)
    seen = counted if reported is None else max(counted, reported.output_tokens)
    return Usage(read, min(seen + deployment.cancel_allowance, bound), cached, method=Method.AT_LEAST)


def output_bound(call: Call, deployment: Deployment) -> int:
    """The most output tokens that the upstream may make for this call, over all its choices."""
    cap = deployment.max_output_tokens  # no more is asked for (`outgoing`)
    if call.max_output_tokens is not None:
        cap = min(cap, call.max_output_tokens)
    return min(cap, deployment.context_window) * call.choices


def prompt_bound(call: Call, deployment: Deployment, known: Count | None = None) -> int:
    """The most prompt tokens that a deployment can bill for a call: what does not fit its window is refused."""
    count = bound(call, deployment) if known is None else known
    return min(count.tokens, deployment.context_window * call.prompts)


def cost(usage: Usage, price: Price) -> int:
    """Nano-USD, rounded up once per request. Prices are pico-USD per token; cached input is a part of input."""
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    pico = (
        plain * price.input
        + usage.cached_input_tokens * price.cached_input
        + usage.cache_write_tokens * price.cache_write
        + usage.output_tokens * price.output
    )
    return -(-pico // 1000)
