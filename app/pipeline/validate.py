"""Stage 2: is the body a request that the gateway can serve? Checks what the gateway itself relies on, no more.

Everything else goes through untouched, and the upstream says what it thinks of it. Written by hand because a pydantic
model of the same takes 4 µs and this 1; the documented schemas (`api/schemas.py`) are held equal to it by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Call, JsonObject, Operation, made
from app.pipeline.counting import media

MAX_CHOICES = 128
_MARKS = 4


def validate(operation: Operation, raw: bytes) -> Call:
    """The call that a body means. Raises `GatewayError` `invalid_request`, naming the field to blame in `param`."""
    return check(operation, parse(raw), len(raw), plain=raw.isascii() and b"\\u" not in raw)


def parse(raw: bytes) -> JsonObject:
    """The body as a JSON object. Raises `GatewayError` where it is none."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise GatewayError(INVALID_REQUEST, f"The body is not valid JSON: {error}.") from None
    if type(body) is not dict:
        raise wrong(None, "The body", "a JSON object", body)
    return body


def check(operation: Operation, body: JsonObject, size: int, *, foreign: bool = False, plain: bool = False) -> Call:
    """The call that a parsed body means; `size`, `foreign` and `plain` as in `Call`. Raises `GatewayError`."""
    get = body.get
    model = get("model")
    if type(model) is not str or not model:
        raise wrong("model", "`model`", "a non-empty string", model)
    stream = get("stream")
    if stream is not None and type(stream) is not bool:
        raise wrong("stream", "`stream`", "true or false", stream)
    choices = get("n")
    if choices is None:
        choices = 1
    elif type(choices) is not int or not 1 <= choices <= MAX_CHOICES:
        raise wrong("n", "`n`", f"an integer from 1 to {MAX_CHOICES}", choices)
    cap = _SHAPES[operation](body)
    prompts, images, other = 1, 0, 0
    if operation is Operation.CHAT:
        images, other = media(body["messages"])
    else:
        prompts, size = _READ[operation](body, size)
        choices = max(choices, _best_of(body)) * prompts
    include_usage = "stream_options" in body and _include_usage(body)
    fields = (
        operation, model, bool(stream), include_usage, body, size, cap, choices, prompts, images, foreign, plain, other,
        cap is None, None,
    )  # fmt: skip
    return made(Call, fields)


def _include_usage(body: JsonObject) -> bool:
    options = body["stream_options"]
    if options is None:
        return False
    if type(options) is not dict:
        raise wrong("stream_options", "`stream_options`", "an object", options)
    if not body.get("stream"):
        raise GatewayError(
            INVALID_REQUEST, "`stream_options` is only allowed together with `stream: true`.", param="stream_options"
        )
    wanted = options.get("include_usage")
    if wanted is not None and type(wanted) is not bool:
        raise wrong("stream_options.include_usage", "`stream_options.include_usage`", "true or false", wanted)
    return bool(wanted)


def _prompts(value: Any) -> int:
    """How many prompts or inputs a checked field holds: an array holds several, unless of numbers: those are tokens."""
    return len(value) if type(value) is list and type(value[0]) is not int else 1


def _several(name: str) -> Callable[[JsonObject, int], tuple[int, int]]:
    return lambda body, size: (_prompts(body[name]), size)


def _pairs(one: str, other: str) -> Callable[[JsonObject, int], tuple[int, int]]:
    """Texts are read in pairs: one that stands once with each other one, with marks around each pair."""

    def read(body: JsonObject, size: int) -> tuple[int, int]:
        texts = body[one], body[other]
        many = max(len(text) if type(text) is list else 1 for text in texts)
        again = sum(len(text.encode()) for text in texts if type(text) is str) * (many - 1)
        return many, size + again + _MARKS * many

    return read


def _free(_body: JsonObject, _size: int) -> tuple[int, int]:
    return 1, 0


_READ: dict[Operation, Callable[[JsonObject, int], tuple[int, int]]] = {
    Operation.COMPLETION: _several("prompt"),
    Operation.EMBEDDINGS: _several("input"),
    Operation.RERANK: _pairs("query", "documents"),
    Operation.SCORE: _pairs("text_1", "text_2"),
    Operation.TOKENIZE: _free,
}
"""Prompts that are read, and a bound of their bytes."""


def _best_of(body: JsonObject) -> int:
    """How many answers are made, and billed, to choose from; the upstream says what it thinks of an odd one."""
    best = body.get("best_of")
    return min(best, MAX_CHOICES) if type(best) is int else 1


def _chat(body: JsonObject) -> int | None:
    _messages(body)
    newer = _cap(body, "max_completion_tokens", 1)
    older = _cap(body, "max_tokens", 1)
    if newer is not None and older is not None and newer != older:
        raise GatewayError(
            INVALID_REQUEST,
            "`max_tokens` and `max_completion_tokens` contradict each other. Send one.",
            param="max_tokens",
        )
    return newer if newer is not None else older


def _messages(body: JsonObject) -> None:
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        raise wrong("messages", "`messages`", "a non-empty array of messages", messages)
    for place, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise wrong(f"messages[{place}]", f"`messages[{place}]`", "an object with a `role`", message)
        content = message.get("content")
        if content is not None and type(content) is not str and type(content) is not list:
            raise wrong(
                f"messages[{place}].content",
                f"`messages[{place}].content`",
                "a string, an array of parts or null",
                content,
            )


def _completion(body: JsonObject) -> int | None:
    prompt = body.get("prompt")
    if type(prompt) is not str and (type(prompt) is not list or not prompt):
        raise wrong("prompt", "`prompt`", "a string or a non-empty array", prompt)
    return _cap(body, "max_tokens", 0)


def _embeddings(body: JsonObject) -> int | None:
    inputs = body.get("input")
    if type(inputs) is not str and (type(inputs) is not list or not inputs):
        raise wrong("input", "`input`", "a string or a non-empty array", inputs)
    return _whole(body, "Embeddings")


def _whole(body: JsonObject, what: str) -> int:
    if body.get("stream"):
        raise GatewayError(INVALID_REQUEST, f"{what} cannot be streamed.", param="stream")
    return 0


def _rerank(body: JsonObject) -> int | None:
    query, documents = body.get("query"), body.get("documents")
    if type(query) is not str or not query:
        raise wrong("query", "`query`", "a non-empty string", query)
    if type(documents) is not list or not documents:
        raise wrong("documents", "`documents`", "a non-empty array", documents)
    _cap(body, "top_n", 1)
    return _whole(body, "A ranking")


def _score(body: JsonObject) -> int | None:
    for name in ("text_1", "text_2"):
        text = body.get(name)
        if type(text) is not str and (type(text) is not list or not text):
            raise wrong(name, f"`{name}`", "a string or a non-empty array", text)
    return _whole(body, "Scores")


def _tokenize(body: JsonObject) -> int | None:
    prompt = body.get("prompt")
    if prompt is None:
        _messages(body)
    elif type(prompt) is not str:
        raise wrong("prompt", "`prompt`", "a string", prompt)
    elif body.get("messages") is not None:
        raise GatewayError(INVALID_REQUEST, "Only one of `prompt` and `messages` must be sent.", param="messages")
    return _whole(body, "A count of tokens")


_SHAPES: dict[Operation, Callable[[JsonObject], int | None]] = {
    Operation.CHAT: _chat,
    Operation.COMPLETION: _completion,
    Operation.EMBEDDINGS: _embeddings,
    Operation.RERANK: _rerank,
    Operation.SCORE: _score,
    Operation.TOKENIZE: _tokenize,
}


def _cap(body: JsonObject, name: str, least: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < least:
        raise wrong(name, f"`{name}`", f"an integer of at least {least}", value)
    return value


def wrong(param: str | None, what: str, right: str, value: Any) -> GatewayError:
    """A 400 that says what would be right, and what came instead."""
    shown = {
        dict: "an object",
        list: "an empty array" if value == [] else "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "nothing",
    }
    got = shown.get(type(value)) or f"the number {value}"
    return GatewayError(INVALID_REQUEST, f"{what} must be {right}; got {got}.", param=param)
