"""A body of `/v1/messages` as a chat request. Fields that nobody translates go through untouched."""

from __future__ import annotations

from typing import Any

from app.api.messages.blocks import messages, system, text_of
from app.api.surface import offered
from app.errors import refused
from app.exchange import Call, JsonObject, Operation
from app.pipeline.validate import check, parse, wrong

_ROLES = ("user", "assistant", "system")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TIERS = {"auto": "auto", "standard_only": "default"}
_TRANSLATED = frozenset(
    (
        *("max_tokens", "messages", "metadata", "model", "output_config", "service_tier", "stop_sequences", "stream"),
        *("system", "tool_choice", "tools"),
    )
)


def understand(operation: Operation, raw: bytes) -> Call:
    """The chat that the body means, or with `TOKENIZE` the prompt to count. Raises `GatewayError`."""
    body = parse(raw)
    _check(body, counted=operation is Operation.TOKENIZE)
    chat: JsonObject = {name: value for name, value in body.items() if name not in _TRANSLATED}
    chat["model"] = body["model"]
    chat["messages"] = [*system(body.get("system")), *messages(body["messages"])]
    _tools(body, chat)
    if operation is Operation.CHAT:
        _answer(body, chat)
    _output(body, chat)
    return check(operation, chat, len(raw), foreign=True)


def _check(body: JsonObject, *, counted: bool) -> None:
    """What must hold before anything is translated."""
    model, cap, found, stream = (body.get(name) for name in ("model", "max_tokens", "messages", "stream"))
    if type(model) is not str or not model:
        raise wrong("model", "`model`", "a non-empty string", model)
    if not counted and (type(cap) is not int or cap < 1):
        raise wrong("max_tokens", "`max_tokens`", "an integer of at least 1", cap)
    if stream is not None and (type(stream) is not bool or (stream and counted)):
        raise wrong("stream", "`stream`", "true or false", stream)
    if type(found) is not list or not found:
        raise wrong("messages", "`messages`", "a non-empty array of messages", found)
    for number, message in enumerate(found):
        place = f"messages[{number}]"
        if type(message) is not dict or message.get("role") not in _ROLES:
            raise wrong(place, f"`{place}`", f"an object whose `role` is one of {', '.join(_ROLES)}", message)
        content = message.get("content")
        if type(content) not in (str, list) or not content:
            raise wrong(f"{place}.content", f"`{place}.content`", "a string or an array of blocks, not empty", content)
    if body.get("n") is not None:
        raise refused("n", "`n` is OpenAI's: this path makes one answer.")


def _tools(body: JsonObject, chat: JsonObject) -> None:
    tools = offered(body, _tool)
    if tools:
        chat["tools"] = tools
    wanted = body.get("tool_choice")
    if wanted is None:
        return
    kind = wanted.get("type") if type(wanted) is dict else None
    if kind == "tool":
        name = text_of(wanted, "tool_choice", "name")
        chat["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif type(kind) is str and kind in _CHOICES:
        chat["tool_choice"] = _CHOICES[kind]
    else:
        raise refused("tool_choice", "`tool_choice.type` must be `auto`, `any`, `none` or `tool`.")
    if wanted.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False


def _tool(tool: Any, place: str) -> JsonObject:
    if type(tool) is not dict or tool.get("type", "custom") not in (None, "custom"):
        raise refused(f"{place}.type", f"`{place}.type`: only tools of the caller's own (`custom`) can be translated.")
    schema = tool.get("input_schema")
    if type(schema) is not dict:
        raise refused(f"{place}.input_schema", f"`{place}.input_schema` must be a JSON schema.")
    function: JsonObject = {"name": text_of(tool, place, "name"), "parameters": schema}
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    made: JsonObject = {"type": "function", "function": function}
    if tool.get("cache_control") is not None:
        made["cache_control"] = tool["cache_control"]
    return made


def _answer(body: JsonObject, chat: JsonObject) -> None:
    """How the answer is made; a prompt that is only counted needs none of it."""
    chat["max_completion_tokens"] = body["max_tokens"]
    if body.get("stream"):
        chat["stream"], chat["stream_options"] = True, {"include_usage": True}
    stops = body.get("stop_sequences")
    if stops:
        if type(stops) is not list or not all(type(stop) is str for stop in stops):
            raise wrong("stop_sequences", "`stop_sequences`", "an array of strings", stops)
        chat["stop"] = stops
    metadata = body.get("metadata")
    if metadata is not None:
        user = metadata.get("user_id") if type(metadata) is dict else metadata
        if user is not None and type(user) is not str:
            raise refused("metadata", "`metadata` must be an object; its `user_id` a string.")
        if user:
            chat["user"] = user
    tier = body.get("service_tier")
    if tier is not None:
        if type(tier) is not str or tier not in _TIERS:
            raise refused("service_tier", "`service_tier` must be `auto` or `standard_only`.")
        chat["service_tier"] = _TIERS[tier]


def _output(body: JsonObject, chat: JsonObject) -> None:
    config = body.get("output_config")
    if config is None:
        return
    if type(config) is not dict:
        raise wrong("output_config", "`output_config`", "an object", config)
    if config.get("effort") is not None:
        chat["reasoning_effort"] = config["effort"]
    form = config.get("format")
    if form is None:
        return
    if type(form) is not dict or form.get("type") != "json_schema" or type(form.get("schema")) is not dict:
        raise refused("output_config.format", "`output_config.format` must be a `json_schema` with its `schema`.")
    wanted = {"name": "answer", "schema": form["schema"], "strict": True}
    chat["response_format"] = {"type": "json_schema", "json_schema": wanted}
