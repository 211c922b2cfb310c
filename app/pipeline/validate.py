"""Stage 2: is the body a request that the gateway can serve? Checks what the gateway itself relies on, no more.

Everything else goes through untouched, and the upstream says what it thinks of it. Written by hand because a pydantic
model of the same takes 4 µs and this 1; the documented schemas (`api/schemas.py`) are held equal to it by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Call, JsonObject, Operation
from app.pipeline.counting import media

MAX_CHOICES = 128


def validate(operation: Operation, raw: bytes) -> Call:
    """The call that a body means. Raises `GatewayError` `invalid_request`, naming the field to blame in `param`."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise GatewayError(INVALID_REQUEST, f"The body is not valid JSON: {error}.") from None
    if type(body) is not dict:
        raise _wrong(None, "The body", "a JSON object", body)
    get = body.get
    model = get("model")
    if type(model) is not str or not model:
        raise _wrong("model", "`model`", "a non-empty string", model)
    stream = get("stream")
    if stream is not None and type(stream) is not bool:
        raise _wrong("stream", "`stream`", "true or false", stream)
    choices = get("n")
    if choices is None:
        choices = 1
    elif type(choices) is not int or not 1 <= choices <= MAX_CHOICES:
        raise _wrong("n", "`n`", f"an integer from 1 to {MAX_CHOICES}", choices)
    cap = _SHAPES[operation](body)
    prompts, images, other = 1, 0, 0
    if operation is Operation.CHAT:
        images, other = media(body["messages"])
    else:
        prompts = _prompts(body["prompt" if operation is Operation.COMPLETION else "input"])
        choices = max(choices, _best_of(body)) * prompts
    include_usage = "stream_options" in body and _include_usage(body)
    return Call(
        operation, model, bool(stream), include_usage, body, len(raw), cap, choices, prompts,
        raw.isascii() and b"\\u" not in raw, images, other, cap is None,
    )  # fmt: skip


def _include_usage(body: JsonObject) -> bool:
    options = body["stream_options"]
    if options is None:
        return False
    if type(options) is not dict:
        raise _wrong("stream_options", "`stream_options`", "an object", options)
    if not body.get("stream"):
        raise GatewayError(
            INVALID_REQUEST, "`stream_options` is only allowed together with `stream: true`.", param="stream_options"
        )
    wanted = options.get("include_usage")
    if wanted is not None and type(wanted) is not bool:
        raise _wrong("stream_options.include_usage", "`stream_options.include_usage`", "true or false", wanted)
    return bool(wanted)


def _prompts(value: Any) -> int:
    """How many prompts or inputs a checked field holds: an array holds several, unless of numbers: those are tokens."""
    return len(value) if type(value) is list and type(value[0]) is not int else 1


def _best_of(body: JsonObject) -> int:
    """How many answers are made, and billed, to choose from; the upstream says what it thinks of an odd one."""
    best = body.get("best_of")
    return min(best, MAX_CHOICES) if type(best) is int else 1


def _chat(body: JsonObject) -> int | None:
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        raise _wrong("messages", "`messages`", "a non-empty array of messages", messages)
    for place, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise _wrong(f"messages[{place}]", f"`messages[{place}]`", "an object with a `role`", message)
        content = message.get("content")
        if content is not None and type(content) is not str and type(content) is not list:
            raise _wrong(
                f"messages[{place}].content",
                f"`messages[{place}].content`",
                "a string, an array of parts or null",
                content,
            )
    newer = _cap(body, "max_completion_tokens", 1)
    older = _cap(body, "max_tokens", 1)
    if newer is not None and older is not None and newer != older:
        raise GatewayError(
            INVALID_REQUEST,
            "`max_tokens` and `max_completion_tokens` contradict each other. Send one.",
            param="max_tokens",
        )
    return newer if newer is not None else older


def _completion(body: JsonObject) -> int | None:
    prompt = body.get("prompt")
    if type(prompt) is not str and (type(prompt) is not list or not prompt):
        raise _wrong("prompt", "`prompt`", "a string or a non-empty array", prompt)
    return _cap(body, "max_tokens", 0)


def _embeddings(body: JsonObject) -> int | None:
    inputs = body.get("input")
    if type(inputs) is not str and (type(inputs) is not list or not inputs):
        raise _wrong("input", "`input`", "a string or a non-empty array", inputs)
    if body.get("stream"):
        raise GatewayError(INVALID_REQUEST, "Embeddings cannot be streamed.", param="stream")
    return 0


_SHAPES: dict[Operation, Callable[[JsonObject], int | None]] = {
    Operation.CHAT: _chat,
    Operation.COMPLETION: _completion,
    Operation.EMBEDDINGS: _embeddings,
}


def _cap(body: JsonObject, name: str, least: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < least:
        raise _wrong(name, f"`{name}`", f"an integer of at least {least}", value)
    return value


def _wrong(param: str | None, what: str, right: str, value: Any) -> GatewayError:
    shown = {
        dict: "an object",
        list: "an empty array" if value == [] else "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "nothing",
    }
    got = shown.get(type(value)) or f"the number {value}"
    return GatewayError(INVALID_REQUEST, f"{what} must be {right}; got {got}.", param=param)
