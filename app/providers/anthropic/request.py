"""A chat request as Anthropic's `POST /v1/messages`."""

from __future__ import annotations

from typing import Any, Final

from app.exchange import Call, JsonObject
from app.providers.anthropic.messages import split
from app.providers.asked import Asked
from app.providers.conversation import turns
from app.providers.tools import Choice, Tool, choice, form, tools
from app.table import Deployment

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_TIERS: Final = {"auto": "auto", "default": "standard_only"}
_COUNTED: Final = ("messages", "model", "output_config", "system", "thinking", "tool_choice", "tools", "cache_control")


def encode(call: Call, deployment: Deployment) -> JsonObject:
    """The body. Raises `GatewayError` for what Anthropic cannot do."""
    asked = Asked(call, deployment)
    system, messages = split(turns(asked.take("messages")))
    body: JsonObject = {"model": deployment.model, "max_tokens": _cap(asked, deployment), "messages": messages}
    if system is not None:
        body["system"] = system
    if call.stream:
        body["stream"] = True
    _tools(asked, body)
    _sampling(asked, body)
    _output(asked, body)
    user = asked.take("safety_identifier") or asked.take("user")
    if type(user) is str:
        body["metadata"] = {"user_id": user}
    tier = asked.take("service_tier")
    if tier is not None:
        if type(tier) is not str or tier not in _TIERS:
            raise asked.cannot("service_tier", "it knows `auto` and `default`")
        body["service_tier"] = _TIERS[tier]
    return {**asked.rest(), **body}


def encode_count(call: Call, deployment: Deployment) -> JsonObject:
    """The body of `POST /v1/messages/count_tokens`: what a prompt is made of, no more."""
    if call.body.get("prompt") is not None:
        raise Asked(call, deployment).cannot("prompt", "it counts `messages`")
    body = encode(call, deployment)
    return {name: body[name] for name in _COUNTED if name in body}


def _cap(asked: Asked, deployment: Deployment) -> int:
    newer, older = asked.integer("max_completion_tokens", 1), asked.integer("max_tokens", 1)
    return newer or older or deployment.max_output_tokens


def _tools(asked: Asked, body: JsonObject) -> None:
    offered = tools(asked.take("tools"))
    if offered:
        body["tools"] = [_tool(tool) for tool in offered]
    wanted, parallel = choice(asked.take("tool_choice"), offered), asked.flag("parallel_tool_calls")
    if wanted is None and parallel is False and offered:
        wanted = Choice("auto")
    if wanted is not None:
        body["tool_choice"] = {"type": wanted.mode} | ({"name": wanted.name} if wanted.name else {})
        if parallel is False and wanted.mode != "none":
            body["tool_choice"]["disable_parallel_tool_use"] = True


def _tool(tool: Tool) -> JsonObject:
    found: JsonObject = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description is not None:
        found["description"] = tool.description
    if tool.strict is not None:
        found["strict"] = tool.strict
    if tool.cache is not None:
        found["cache_control"] = tool.cache
    return found


def _sampling(asked: Asked, body: JsonObject) -> None:
    values: dict[str, Any] = {
        "temperature": asked.number("temperature", 0, 1),
        "top_p": asked.number("top_p", 0, 1),
        "top_k": asked.integer("top_k", 0),
        "stop_sequences": asked.stops() or None,
    }
    body.update({name: value for name, value in values.items() if value is not None})


def _output(asked: Asked, body: JsonObject) -> None:
    """`output_config`: the form of the answer and the effort that goes into it; and whether it is thought about."""
    config: JsonObject = {}
    wanted = form(asked.take("response_format"))
    if wanted is not None:
        if wanted.schema is None:
            raise asked.cannot("response_format", "it makes JSON by a `json_schema` only")
        config["format"] = {"type": "json_schema", "schema": wanted.schema}
    effort, thinking = asked.take("reasoning_effort"), asked.take("thinking")
    if effort == "none" and thinking is None:
        thinking = {"type": "disabled"}
    elif effort is not None:
        if effort not in _EFFORTS:
            raise asked.cannot("reasoning_effort", f"it knows {', '.join(_EFFORTS)} and none")
        config["effort"] = effort
    if thinking is not None:
        body["thinking"] = thinking
    if config:
        body["output_config"] = config
