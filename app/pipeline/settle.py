"""Stage 10: what is a request charged? Pure arithmetic on tokens and prices."""

from __future__ import annotations

from app.exchange import Call, Method, Usage
from app.table import Deployment, Price

NOTHING = Usage(0, 0, method=Method.NOTHING_SENT)


def settle(call: Call, deployment: Deployment, reported: Usage | None, counted: int, *, finished: bool) -> Usage:
    """The usage that a request which reached `deployment` is charged.

    `reported` is the provider's latest word, `counted` the output tokens that we saw. A finished answer is charged
    what was reported. One that was cut short is charged what was counted plus the deployment's `cancel_allowance`,
    within the request's own bound; when it was not a stream nothing was seen, and it is charged at its bound.
    """
    if finished and reported is not None:
        return reported
    bound = output_bound(call, deployment)
    prompt = reported.input_tokens if reported is not None else prompt_bound(call, deployment)
    cached, written = (reported.cached_input_tokens, reported.cache_write_tokens) if reported is not None else (0, 0)
    if finished:
        return Usage(prompt, min(counted, bound), cached, written, method=Method.AT_LEAST)
    if not call.stream or deployment.cancel_allowance is None:
        return Usage(prompt, bound, cached, written, method=Method.BOUND)
    seen = counted if reported is None else max(counted, reported.output_tokens)
    return Usage(prompt, min(seen + deployment.cancel_allowance, bound), cached, written, method=Method.AT_LEAST)


def output_bound(call: Call, deployment: Deployment) -> int:
    """The most output tokens that the upstream may make for this call, over all its choices."""
    cap = deployment.max_output_tokens if call.max_output_tokens is None else call.max_output_tokens
    return min(cap, deployment.context_window) * call.choices


def prompt_bound(call: Call, deployment: Deployment) -> int:
    """A sound upper bound of the prompts' tokens: no tokenizer makes more tokens than its text has bytes.

    What does not fit the context window is refused, so a large image counts as that and not as its bytes.
    """
    return min(call.size, deployment.context_window * call.prompts)


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
