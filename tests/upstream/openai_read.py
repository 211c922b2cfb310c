"""Reads requests of the OpenAI dialect, and refuses what vLLM refuses, in its words.

A refusal with a `violation` is one that no gateway may provoke: it must have refused the request itself.
"""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from tests.upstream.behaviour import Behaviour, parse
from tests.upstream.dialect import Ask, Refused
from tests.upstream.engine import WEATHER
from tests.upstream.state import Settings
from tests.upstream.wire import Exchange
from tests.upstream.words import PER_TOOL, content_text, count, message_tokens

_NUMBERS = itertools.count(0xB61135C5)
_PREFIXES = {"chat": "chatcmpl-", "completion": "cmpl-", "embeddings": "embd-", "count": "count-"}
_INVALID = "Bad Request"  # the type that vLLM gives to what its schema refuses


def document(exchange: Exchange) -> dict[str, Any]:
    """The body as a JSON object. Raises Refused."""
    if not (exchange.header(b"content-type") or b"").startswith(b"application/json"):
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise Refused(400, message, kind=_INVALID, violation="content_type")
    try:
        doc = orjson.loads(exchange.body)
    except orjson.JSONDecodeError as problem:
        message = "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.%d', 'msg': 'JSON decode error'}"
        raise Refused(
            400, message % problem.pos, param=f"body.{problem.pos}", kind=_INVALID, violation="bad_json"
        ) from None
    if not isinstance(doc, dict):
        message = (
            "1 validation error:\n  {'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Should be an object'}"
        )
        raise Refused(400, message, param="body", kind=_INVALID, violation="bad_json")
    return doc


def behaviour_of(model: str, settings: Settings) -> Behaviour:
    """What the model does. Raises Refused (404)."""
    spec = settings.aliases.get(model, model)
    found = parse("openai+" + spec if settings.flavour == "openai" else spec)
    if found is None:
        raise Refused(404, f"The model `{model}` does not exist.", param="model")
    return found


def read(exchange: Exchange, settings: Settings, now: float) -> Ask:
    """The request's meaning."""
    path = exchange.path.partition("?")[0]
    operation = "embeddings" if path.endswith("/embeddings") else "chat" if "/chat/" in path else "completion"
    return ask_of(document(exchange), operation, exchange, settings, now)


def ask_of(doc: dict[str, Any], operation: str, exchange: Exchange, settings: Settings, now: float) -> Ask:
    """The meaning of a request in OpenAI's shape. Raises Refused."""
    model = doc.get("model") or "echo"  # vLLM answers without a model, too
    if not isinstance(model, str):
        raise _wrong("model", "string_type", "Input should be a valid string")
    exchange.record.model = model
    behaviour = behaviour_of(model, settings)
    ask = Ask(operation, model, behaviour, doc, "", 0, settings.fingerprint, [], 0)
    if operation == "embeddings":
        _embeddings(ask)
    elif operation in {"chat", "count"}:
        _chat(ask)
        _common(ask)
    else:
        _completion(ask)
        _common(ask)
    identify(ask, exchange, now)
    return ask


def identify(ask: Ask, exchange: Exchange, now: float) -> None:
    """Give the answer its id, from the caller's x-request-id if there is one, and its time."""
    given = exchange.header(b"x-request-id")
    number = given.decode("latin-1") if given else f"{next(_NUMBERS):016x}"
    ask.answer_id = _PREFIXES[ask.operation] + number
    ask.created = int(now)


def _wrong(field: str, kind: str, message: str, violation: str | None = None) -> Refused:
    text = f"1 validation error:\n  {{'type': '{kind}', 'loc': 'body.{field}', 'msg': '{message}'}}"
    return Refused(400, text, param=f"body.{field}", kind=_INVALID, violation=violation)


def _common(ask: Ask) -> None:
    """The fields that chat and completions share."""
    doc = ask.doc
    stream = doc.get("stream")
    if stream not in {True, False, None}:
        raise _wrong("stream", "bool_parsing", "Input should be a valid boolean, unable to interpret input")
    ask.stream = bool(stream)
    options = doc.get("stream_options")
    if options:
        if not ask.stream:
            raise Refused(
                400,
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
                param="stream_options",
            )
        ask.include_usage = bool(options.get("include_usage"))
        ask.continuous_usage = ask.include_usage and bool(options.get("continuous_usage_stats"))
    ask.choices = _number(doc, "n", 1)
    cap = doc.get("max_completion_tokens")
    name = "max_tokens" if cap is None else "max_completion_tokens"
    ask.cap = None if doc.get(name) is None else _number(doc, name, 0)
    if ask.cap is None and ask.operation == "completion":
        ask.cap = 16
    ask.seed = _number(doc, "seed", 0)
    temperature = doc.get("temperature")
    if temperature is not None:
        _check_temperature(temperature)
    stop = doc.get("stop")
    ask.stop = (stop,) if isinstance(stop, str) else tuple(stop or ())
    _fits(ask, name)


def _check_temperature(value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(
            "temperature", "float_parsing", "Input should be a valid number, unable to parse string as a number"
        )
    if value < 0:
        detail = f"temperature must be non-negative, got {float(value)}. (parameter=temperature, value={float(value)})"
        raise Refused(400, detail, param="temperature")


def _number(doc: dict[str, Any], name: str, default: int) -> int:
    value = doc.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
    if name == "n" and value < 1:
        raise Refused(400, f"n must be at least 1, got {value}.")
    if name != "seed" and value < 1:
        raise Refused(400, f"{name} must be at least 1, got {value}. (parameter={name}, value={value})", param=name)
    return value


def _fits(ask: Ask, name: str) -> None:
    window = ask.behaviour.context
    if ask.cap is not None and ask.cap > window:
        detail = f"{name}={ask.cap} cannot be greater than max_model_len={window}. Please request fewer output tokens."
        raise Refused(400, f"{detail} (parameter={name}, value={ask.cap})", param=name)
    if ask.prompt_tokens > window:
        detail = f"This model's maximum context length is {window} tokens. However, your prompt contains at least"
        rest = f"{window + 1} input tokens, which exceeds this limit even without any output tokens."
        raise Refused(400, f"{detail} {rest}", param="input_tokens")


def _chat(ask: Ask) -> None:
    doc = ask.doc
    messages = doc.get("messages")
    if not isinstance(messages, list):
        kind = "missing" if messages is None else "list_type"
        raise _wrong("messages", kind, "Field required", violation="no_messages")
    if not messages:
        raise Refused(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
    asked = messages[-1]
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str):
            raise _wrong("messages.0.role", "missing", "Field required")
        if role == "user":
            asked = message
    after_tool = messages[-1]["role"] == "tool"
    ask.prompts = [content_text((messages[-1] if after_tool else asked).get("content"))]
    tools = doc.get("tools")
    ask.prompt_tokens = message_tokens(messages) + (PER_TOOL * len(tools) if tools else 0)
    ask.sizes = [ask.prompt_tokens]
    if doc.get("logprobs"):
        ask.logprobs = _number(doc, "top_logprobs", 0) if doc.get("top_logprobs") else 0
    if tools or ask.behaviour.tool_calls:
        ask.tools = _wanted_tools(ask, tools or [], after_tool=after_tool)


def _wanted_tools(ask: Ask, offered: list[dict[str, Any]], *, after_tool: bool) -> list[dict[str, Any]]:
    """The tools that the answer calls: those that the behaviour or `tool_choice` wants."""
    choice = ask.doc.get("tool_choice")
    if choice == "none" or after_tool:
        return []
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        named = [tool for tool in offered if tool.get("function", {}).get("name") == name]
        if not named:
            raise Refused(
                400,
                f"The tool specified in `tool_choice` does not match any of the specified `tools`: {name}",
                param="tool_choice",
            )
        return named
    wanted = ask.behaviour.tool_calls or (1 if choice == "required" else 0)
    pool = offered or [WEATHER]
    return [pool[k % len(pool)] for k in range(wanted)]


def _completion(ask: Ask) -> None:
    doc = ask.doc
    prompt = doc.get("prompt")
    if prompt is None or prompt in ("", []):
        raise Refused(
            400,
            "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
            param="prompt",
            violation="no_prompt",
        )
    _texts(ask, prompt, "prompt")
    ask.echo = bool(doc.get("echo"))
    if doc.get("logprobs") is not None:
        ask.logprobs = _number({"logprobs": doc["logprobs"] or None}, "logprobs", 0)


def _embeddings(ask: Ask) -> None:
    if ask.doc.get("input") is None:
        raise _wrong("input", "missing", "Field required", violation="no_input")
    if ask.doc["input"] == []:
        raise Refused(400, "You must pass at least one prompt")
    _texts(ask, ask.doc["input"], "input")
    if ask.doc.get("encoding_format") not in {None, "float", "base64"}:
        raise _wrong("encoding_format", "literal_error", "Input should be float or base64")
    _fits(ask, "input")


def _texts(ask: Ask, value: Any, field: str) -> None:
    """A text, several, token numbers, or several lists of them."""
    items = (
        [value]
        if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int))
        else value
    )
    if not isinstance(items, list):
        raise _wrong(field, "list_type", "Input should be a valid list")
    for item in items:
        if isinstance(item, str):
            ask.prompts.append(item)
            ask.sizes.append(count(item))
        elif isinstance(item, list) and all(isinstance(number, int) for number in item):
            ask.prompts.append("".join(f" #{number}" for number in item))
            ask.sizes.append(len(item))
        else:
            raise _wrong(field, "string_type", "Input should be a valid string")
    ask.prompt_tokens = sum(ask.sizes)
