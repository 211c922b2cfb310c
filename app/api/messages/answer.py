"""A chat completion as a message, whole; and what whole and streamed messages share."""

from __future__ import annotations

from typing import Any, Final

import orjson

from app.api.surface import string
from app.exchange import JsonObject, Usage
from app.providers.anthropic.answer import FINISH

STOPS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def stop_of(choice: JsonObject, refusal: Any) -> tuple[str, str | None, JsonObject | None]:
    """Stop reason, stop sequence and details; `refusal` is what the model or the provider said to explain one.

    A stage may have changed `finish_reason`: then that is what counts.
    """
    finish, native, sequence = (
        choice.get("finish_reason"),
        choice.get("native_finish_reason"),
        choice.get("stop_reason"),
    )
    reason = native if type(native) is str and FINISH.get(native) == finish else STOPS.get(finish or "", "end_turn")
    met = sequence if type(sequence) is str and reason in ("end_turn", "stop_sequence") else None
    details = None
    if reason == "refusal":
        hits = _hits(choice.get("content_filter_results"))
        details = {
            "type": "refusal",
            "category": hits[0] if hits and hits[0] in _CATEGORIES else None,
            "explanation": refusal or (f"Filtered: {', '.join(hits)}." if hits else None),
        }
    return ("stop_sequence" if met is not None else reason), met, details


_CATEGORIES: Final = frozenset({"cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"})


def _hits(results: Any) -> list[str]:
    """The categories that were filtered."""
    if type(results) is not dict:
        return []
    return [name for name, one in results.items() if type(one) is dict and one.get("filtered")]


def usage_document(usage: Usage | None) -> JsonObject:
    """Anthropic's usage: its input leaves out what was read from and written to a cache."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    found: JsonObject = {
        "input_tokens": usage.input_tokens - cached - written,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
    }
    if usage.reasoning_tokens:
        found["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return found


def message_id(doc: JsonObject, request_id: str) -> str:
    """The upstream's id where it is one of Anthropic's, else ours."""
    known = doc.get("id")
    return known if type(known) is str and known.startswith("msg_") else f"msg_{request_id.removeprefix('req_')}"


def thoughts(message: JsonObject) -> list[JsonObject]:
    """Blocks of what was thought: those that were signed, else the text of another provider, unsigned."""
    blocks = message.get("thinking_blocks")
    if blocks:
        return list(blocks)
    text = message.get("reasoning_content") or message.get("reasoning")
    return [{"type": "thinking", "thinking": text, "signature": ""}] if type(text) is str and text else []


def whole(doc: JsonObject, usage: Usage | None, request_id: str) -> JsonObject:
    """The message."""
    choice = doc["choices"][0]
    said = choice["message"]
    blocks = thoughts(said)
    text = said.get("content") or said.get("refusal")
    if text:
        blocks.append({"type": "text", "text": string(text)})
    for call in said.get("tool_calls") or ():
        function = call["function"]
        blocks.append(
            {"type": "tool_use", "id": call["id"], "name": function["name"], "input": _input(function["arguments"])}
        )
    reason, sequence, details = stop_of(choice, said.get("refusal"))
    return {
        "id": message_id(doc, request_id),
        "type": "message",
        "role": "assistant",
        "model": doc.get("model"),
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": details,
        "usage": usage_document(usage),
    }


def _input(arguments: Any) -> Any:
    """A call's arguments; those that an answer cut short left broken are told as they are."""
    try:
        found = orjson.loads(arguments) if arguments else {}
    except orjson.JSONDecodeError:
        found = None
    return found if type(found) is dict else {"_broken": arguments}
