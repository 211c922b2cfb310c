"""Anthropic's whole answers as chat completions, read by both SDKs; usage counted once."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from app.exchange import JsonObject, Usage
from app.providers.anthropic.answer import FINISH, error_status, usage_of, whole

USAGE = {
    "input_tokens": 10, "output_tokens": 50, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3,
    "output_tokens_details": {"thinking_tokens": 20}, "service_tier": "standard",
}  # fmt: skip


def message(*content: JsonObject, **fields: Any) -> JsonObject:
    """An answer that Anthropic's SDK takes for one."""
    doc = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": list(content),
        "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE, **fields,
    }  # fmt: skip
    Message.model_validate(doc)
    return doc


TEXT = {"type": "text", "text": "hello", "citations": None}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1]}}


def test_text_thoughts_and_calls() -> None:
    """All of it, in a shape that OpenAI's SDK takes for a completion."""
    doc, usage = whole(message(THOUGHT, TEXT, CALL, {**CALL, "id": "toolu_2"}, stop_reason="tool_use"))
    completion = ChatCompletion.model_validate(doc)
    assert completion.choices[0].finish_reason == "tool_calls"
    said = doc["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"], said["thinking_blocks"]) == ("hello", "hm", [THOUGHT])
    assert [call["function"] for call in said["tool_calls"]] == [{"name": "f", "arguments": '{"a":[1]}'}] * 2
    assert usage == Usage(17, 50, 4, 3, 20)
    assert (doc["id"], doc["model"], doc["service_tier"]) == ("msg_1", "claude-x", "default")


def test_a_later_report_overrides_what_it_names() -> None:
    """What it leaves out stays as it was."""
    first = usage_of({"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 1})
    assert first == Usage(14, 1, 4)
    assert usage_of({"output_tokens": 9}, first) == Usage(14, 9, 4)
    assert usage_of({"input_tokens": 11, "output_tokens": 9}, first) == Usage(15, 9, 4)
    assert usage_of(None, first) is first
    assert usage_of({"input_tokens": -1, "output_tokens": "x", "output_tokens_details": 3}) == Usage(0, 0)


@pytest.mark.parametrize(("reason", "finish"), [*FINISH.items(), ("brand_new", "stop")])
def test_every_stop_reason(reason: str, finish: str) -> None:
    """In OpenAI's words, with Anthropic's beside it."""
    doc = {**message(TEXT), "stop_reason": reason}
    choice = whole(doc)[0]["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (finish, reason)


def test_a_stop_sequence_is_told() -> None:
    """As vLLM tells it."""
    doc, _ = whole(message(TEXT, stop_reason="stop_sequence", stop_sequence="END"))
    assert doc["choices"][0]["stop_reason"] == "END"


def test_a_refusal_is_a_content_filter_with_its_category() -> None:
    """And with the provider's words."""
    details = {"type": "refusal", "category": "bio", "explanation": "No."}
    choice = whole(message(TEXT, stop_reason="refusal", stop_details=details))[0]["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["content_filter_results"] == {"bio": {"filtered": True}}
    assert choice["message"]["refusal"] == "No."
    bare = whole(message(stop_reason="refusal"))[0]["choices"][0]
    assert bare["content_filter_results"] == {"refusal": {"filtered": True}}


@pytest.mark.parametrize("fields", [{"type": "x"}, {"content": "x"}, {"content": [{"type": "?"}]}, {"content": [7]}])
def test_what_is_no_message(fields: JsonObject) -> None:
    """Is malformed; a block of an unknown kind too, for it cannot be told."""
    with pytest.raises(ValueError, match=r"no message|no known kind"):
        whole({**message(), **fields})


def test_error_statuses() -> None:
    """By type; what is new is a 500."""
    assert error_status({"error": {"type": "overloaded_error"}}) == 529
    assert error_status({"error": {"type": "rate_limit_error"}}) == 429
    assert error_status({"error": {"type": "?"}}) == error_status({"error": "x"}) == error_status({}) == 500
