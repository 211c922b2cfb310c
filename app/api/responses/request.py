"""A body of `/v1/responses` as a chat request. Nothing is stored here, so what needs storage is refused."""

from __future__ import annotations

from typing import Any, Final

from app.api.responses.items import messages
from app.api.surface import offered
from app.errors import refused
from app.exchange import Call, JsonObject, Operation
from app.pipeline.validate import check, parse, wrong

_STORED: Final = {
    "background": "answers are not made in the background",
    "conversation": "conversations are not stored here: send them as `input`",
    "metadata": "nothing is stored here that it could describe",
    "previous_response_id": "responses are not stored here: send the conversation as `input`",
    "prompt": "prompts are not stored here: send them as `instructions`",
    "store": "responses are not stored here: send `store: false`",
}
_REFUSED: Final = {
    "context_management": "the conversation is not changed here",
    "max_tool_calls": "tools run at the caller's",
    "moderation": "a guard of the operator's does that",
}
_INCLUDES: Final = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
_TRANSLATED: Final = frozenset(
    (
        *("include", "input", "instructions", "max_output_tokens", "model", "reasoning", "stream", "stream_options"),
        *("text", "tool_choice", "tools", "truncation", *_STORED, *_REFUSED),
    )
)


def understand(operation: Operation, raw: bytes) -> Call:
    """The chat that the body means. Raises `GatewayError`."""
    body = parse(raw)
    _check(body)
    chat: JsonObject = {name: value for name, value in body.items() if name not in _TRANSLATED}
    chat["model"] = body["model"]
    instructions = body.get("instructions")
    chat["messages"] = [{"role": "system", "content": instructions}] if instructions else []
    chat["messages"] += messages(body.get("input"))
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("stream"):
        chat["stream"], chat["stream_options"] = True, {"include_usage": True}
    _tools(body, chat)
    _text(body, chat)
    return check(operation, chat, len(raw), foreign=True)


def _check(body: JsonObject) -> None:
    model, stream, cap, instructions = (
        body.get(name) for name in ("model", "stream", "max_output_tokens", "instructions")
    )
    if type(model) is not str or not model:
        raise wrong("model", "`model`", "a non-empty string", model)
    if stream is not None and type(stream) is not bool:
        raise wrong("stream", "`stream`", "true or false", stream)
    if cap is not None and (type(cap) is not int or cap < 1):
        raise wrong("max_output_tokens", "`max_output_tokens`", "an integer of at least 1", cap)
    if instructions is not None and type(instructions) is not str:
        raise wrong("instructions", "`instructions`", "a string", instructions)
    for name, why in (*_STORED.items(), *_REFUSED.items()):
        if body.get(name) not in (None, False, {}):
            raise refused(name, f"`{name}` is not served: {why}.")
    if body.get("n") is not None:
        raise refused("n", "`n` is for chat completions: this path makes one answer.")
    if body.get("truncation") not in (None, "disabled"):
        raise refused("truncation", "`truncation` must be `disabled`: the conversation is not changed here.")
    include = body.get("include")
    if include is not None and type(include) is not list:
        raise wrong("include", "`include`", "an array", include)
    for wanted in include or ():
        if type(wanted) is not str or wanted not in _INCLUDES:
            raise refused("include", f"`include` may name {' and '.join(sorted(_INCLUDES))}.")


def _tools(body: JsonObject, chat: JsonObject) -> None:
    tools = offered(body, _tool)
    if tools:
        chat["tools"] = tools
    wanted = body.get("tool_choice")
    if wanted is None:
        return
    if type(wanted) is str:
        if tools or wanted != "auto":  # SDKs send the default along without any tool
            chat["tool_choice"] = wanted
    elif type(wanted) is dict and wanted.get("type") == "function" and type(wanted.get("name")) is str:
        chat["tool_choice"] = {"type": "function", "function": {"name": wanted["name"]}}
    else:
        raise refused("tool_choice", "`tool_choice` must be `auto`, `none`, `required` or name a function.")


def _tool(tool: Any, place: str) -> JsonObject:
    if type(tool) is not dict or tool.get("type") != "function":
        raise refused(f"{place}.type", f"`{place}.type` must be `function`: tools run at the caller's.")
    if type(tool.get("name")) is not str:
        raise refused(f"{place}.name", f"`{place}.name` must be a string.")
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}


def _text(body: JsonObject, chat: JsonObject) -> None:
    """The form of the answer, how wordy it is, how much is thought about it, and its log probabilities."""
    text, reasoning = body.get("text") or {}, body.get("reasoning") or {}
    if type(text) is not dict or type(reasoning) is not dict:
        name = "text" if type(text) is not dict else "reasoning"
        raise wrong(name, f"`{name}`", "an object", body[name])
    form = text.get("format")
    if form is not None and type(form) is not dict:
        raise wrong("text.format", "`text.format`", "an object", form)
    if form is not None and form.get("type") == "json_schema":
        wanted = {name: value for name, value in form.items() if name != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": wanted}
    elif form is not None and form != {"type": "text"}:
        chat["response_format"] = form
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    if reasoning.get("effort") is not None:
        chat["reasoning_effort"] = reasoning["effort"]
    if reasoning.get("summary") not in (None, "auto") or reasoning.get("generate_summary") not in (None, "auto"):
        raise refused("reasoning.summary", "`reasoning.summary` must be `auto`: what the model tells of its thoughts.")
    if "message.output_text.logprobs" in (body.get("include") or ()) or body.get("top_logprobs"):
        chat["logprobs"] = True
