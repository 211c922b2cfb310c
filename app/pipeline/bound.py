"""What a request may use at most: reserved before it is sent, and settled where nothing else is known."""

from __future__ import annotations

from app.exchange import Call
from app.table import Deployment


def output_bound(call: Call, deployment: Deployment) -> int:
    """The most output tokens that the upstream may make for this call, over all its choices."""
    cap = deployment.max_output_tokens if call.max_output_tokens is None else call.max_output_tokens
    return min(cap, deployment.context_window) * call.choices


def prompt_bound(call: Call, deployment: Deployment) -> int:
    """A sound upper bound of the prompts' tokens: no tokenizer makes more tokens than its text has bytes.

    What does not fit the context window is refused, so a large image counts as that and not as its bytes.
    """
    return min(call.size, deployment.context_window * call.prompts)
