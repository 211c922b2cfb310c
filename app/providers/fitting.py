"""What an OpenAI-shaped body needs when it does not go up as it came: fields dropped, renamed, or translated hints.

A body that was translated from another shape (`Call.foreign`) may hold Anthropic's hints. Those without an effect on
the answer stay here: where a cache may break (OpenAI's and vLLM's caches find that by themselves), signatures of
thoughts (only their own provider can check them), the mark of a failed tool. What would change the answer is a 400.
"""

from __future__ import annotations

from typing import Final

from app.exchange import Call, JsonObject
from app.providers.asked import ANTHROPIC_ONLY, Asked, dropped, means_nothing
from app.table import Deployment

_CAPS: Final = ("max_completion_tokens", "max_tokens")
_HINTS: Final = frozenset({"cache_control", "is_error", "thinking_blocks"})


def fitted(body: JsonObject, call: Call, deployment: Deployment) -> JsonObject:
    """The body as this deployment takes it. Raises `GatewayError` for what it cannot do."""
    body = dropped(body, deployment)
    if call.foreign:
        body = _plain(body, call, deployment)
    if deployment.output_cap is not None and call.max_output_tokens is not None:
        body = {name: value for name, value in body.items() if name not in _CAPS}
        body[deployment.output_cap] = call.max_output_tokens
    return body


def _plain(body: JsonObject, call: Call, deployment: Deployment) -> JsonObject:
    made: JsonObject = {}
    for name, value in body.items():
        if name not in ANTHROPIC_ONLY:
            made[name] = value
        elif name != "cache_control" and not means_nothing(name, value):
            raise Asked(call, deployment).cannot(name)
    made["messages"] = [_message(message) for message in body["messages"]]
    if "tools" in made:
        made["tools"] = [_without(tool) for tool in made["tools"]]
    return made


def _message(message: JsonObject) -> JsonObject:
    content = message.get("content")
    made = _without(message)
    if type(content) is list:
        made["content"] = [_without(part) for part in content]
    if "tool_calls" in made:
        made["tool_calls"] = [_without(call) for call in made["tool_calls"]]
    return made


def _without(value: JsonObject) -> JsonObject:
    return {name: inner for name, inner in value.items() if name not in _HINTS}
