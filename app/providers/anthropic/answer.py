"""Anthropic's answers as chat completions: what a whole one and a streamed one share, and the whole one."""

from __future__ import annotations

import time
from typing import Any, Final

import orjson

from app.exchange import JsonObject, Usage
from app.providers.usage import usage_document

FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Why an answer ended, in OpenAI's words; a reason that is new is `stop`, and `native_finish_reason` tells it."""

STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def usage_of(reported: Any, before: Usage | None = None) -> Usage | None:
    """Anthropic's usage: its input leaves out what was read from and written to the cache, ours holds both.

    A later report leaves out what has not changed since `before`.
    """
    if type(reported) is not dict:
        return before

    def count(name: str, default: int) -> int:
        value = reported.get(name)
        return value if type(value) is int and value >= 0 else default

    known = before or Usage(0, 0)
    plain = known.input_tokens - known.cached_input_tokens - known.cache_write_tokens
    read = count("cache_read_input_tokens", known.cached_input_tokens)
    written = count("cache_creation_input_tokens", known.cache_write_tokens)
    plain, made = count("input_tokens", plain), count("output_tokens", known.output_tokens)
    details = reported.get("output_tokens_details")
    thought = details.get("thinking_tokens") if type(details) is dict else None
    reasoning = min(thought, made) if type(thought) is int and thought >= 0 else known.reasoning_tokens
    return Usage(plain + read + written, made, read, written, reasoning)


def ending(reason: Any, sequence: Any, details: Any) -> JsonObject:
    """What a choice says about its end, beside `index`, `message` and `logprobs`."""
    end: JsonObject = {"finish_reason": FINISH.get(reason, "stop"), "native_finish_reason": reason}
    if type(sequence) is str:
        end["stop_reason"] = sequence  # vLLM's name for the stop string that was met
    if reason == "refusal":
        category = details.get("category") if type(details) is dict else None
        named = type(category) is str and category
        end["content_filter_results"] = {named or "refusal": {"filtered": True}}
    return end


def whole(doc: JsonObject) -> tuple[JsonObject, Usage | None]:
    """A message as a chat completion. Raises `ValueError` when it is no message."""
    blocks = doc.get("content")
    if doc.get("type") != "message" or type(blocks) is not list:
        raise ValueError("the answer is no message")
    usage = usage_of(doc.get("usage"))
    reason, details = doc.get("stop_reason"), doc.get("stop_details")
    choice = {"index": 0, "message": _message(blocks, reason, details), "logprobs": None}
    made: JsonObject = {
        "id": doc.get("id"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": doc.get("model"),
        "choices": [choice | ending(reason, doc.get("stop_sequence"), details)],
    }
    tier = (doc.get("usage") or {}).get("service_tier")
    if tier is not None:
        made["service_tier"] = {"standard": "default"}.get(tier, tier)
    if usage is not None:
        made["usage"] = usage_document(usage)
    return made, usage


def _message(blocks: list[Any], reason: Any, details: Any) -> JsonObject:
    texts: list[str] = []
    thoughts: list[str] = []
    thinking: list[JsonObject] = []
    calls: list[JsonObject] = []
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "thinking", "thinking": str(text)}:
                thoughts.append(text)
                thinking.append(block)
            case {"type": "redacted_thinking"}:
                thinking.append(block)
            case {"type": "tool_use", "id": str(known), "name": str(name), "input": arguments}:
                function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
                calls.append({"id": known, "type": "function", "function": function})
            case _:
                raise ValueError("a block of the answer is of no known kind")
    message: JsonObject = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    message["refusal"] = explanation(details) if reason == "refusal" else None
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if thinking:
        message["thinking_blocks"] = thinking
    if calls:
        message["tool_calls"] = calls
    return message


def explanation(details: Any) -> str | None:
    """Why the provider refused, where it says so."""
    text = details.get("explanation") if type(details) is dict else None
    return text if type(text) is str else None


def error_status(doc: JsonObject) -> int:
    """The HTTP status that an error inside a stream means."""
    error = doc.get("error")
    return STATUSES.get(error.get("type", ""), 500) if type(error) is dict else 500
