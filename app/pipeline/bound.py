"""What a request may use at most: reserved before it is sent, and settled where nothing else is known."""

from __future__ import annotations

from app.exchange import Call, Count, Operation
from app.pipeline.counting import bound
from app.table import Deployment


def output_cap(call: Call, deployment: Deployment) -> int:
    """The most output tokens of one choice. Embeddings make none."""
    if call.operation is Operation.EMBEDDINGS:
        return 0
    cap, asked = deployment.max_output_tokens, call.max_output_tokens  # no more is asked for (`outgoing`)
    if asked is not None and asked < cap:
        cap = asked
    window = deployment.context_window
    return cap if cap < window else window  # noqa: FURB136 # min() takes 0.1 µs


def output_bound(call: Call, deployment: Deployment) -> int:
    """The most output tokens that the upstream may make for this call, over all its choices."""
    return output_cap(call, deployment) * call.choices


def prompt_bound(call: Call, deployment: Deployment, known: Count | None = None) -> int:
    """The most prompt tokens that a deployment can bill for a call; `known` is what the stage `fit` found out.

    What does not fit the context window is refused, so a large image counts as that and not as its bytes.
    """
    count = bound(call, deployment) if known is None else known
    tokens, room = count.tokens, deployment.context_window * call.prompts
    return tokens if tokens < room else room  # noqa: FURB136 # min() takes 0.1 µs
