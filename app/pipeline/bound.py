"""What a request may use at most: reserved before it is sent, and settled where nothing else is known."""

from __future__ import annotations

from app.exchange import Call, Count, Operation, Provider
from app.pipeline.counting import bound
from app.table import Deployment


def output_cap(call: Call, deployment: Deployment) -> int:
    """The most output tokens of one choice. Embeddings make none."""
    if call.operation is Operation.EMBEDDINGS:
        return 0
    cap, asked = deployment.max_output_tokens, call.max_output_tokens  # no more is asked for (`outgoing`)
    return min(cap if asked is None or asked > cap else asked, deployment.context_window)


def output_bound(call: Call, deployment: Deployment) -> int:
    """The most output tokens that the upstream may make for this call, over all its choices."""
    return output_cap(call, deployment) * call.choices


def prompt_bound(call: Call, deployment: Deployment, known: Count | None = None) -> int:
    """The most prompt tokens that a deployment can bill for a call; `known` is what the stage `fit` found out.

    What does not fit the context window is refused, so a large image counts as that and not as its bytes.
    """
    count = bound(call, deployment) if known is None else known
    return min(count.tokens, deployment.context_window * call.prompts)


def capped(call: Call, deployment: Deployment) -> Call:
    """The call with its cap in its body: an upstream that is told none may make more than was reserved."""
    if call.operation is not Operation.CHAT and call.operation is not Operation.COMPLETION:
        return call
    cap, body = output_cap(call, deployment), call.body
    names = [name for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    if not names:
        newer = call.operation is Operation.CHAT and deployment.provider in _NEWER
        names = ["max_completion_tokens" if newer else "max_tokens"]
    if all(body.get(name) == cap for name in names):
        return call
    return call._replace(body={**body, **dict.fromkeys(names, cap)})


_NEWER = frozenset({Provider.OPENAI, Provider.AZURE_OPENAI})
"""Providers whose reasoning models refuse the older name."""
