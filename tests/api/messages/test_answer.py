"""Chat completions as messages, valid by Anthropic's SDK."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import Message

from app.api.messages.answer import STOPS, message_id, stop_of, thoughts, usage_document, whole
from app.exchange import JsonObject, Usage

USAGE = Usage(17, 50, 4, 3, 20)


def completion(message: JsonObject, **choice: Any) -> JsonObject:
    """A chat completion."""
    said = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop", **choice}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "up", "choices": [said]}


def message(said: JsonObject, **choice: Any) -> Message:
    """What the SDK makes of it."""
    return Message.model_validate(whole(completion(said, **choice), USAGE, "req_7"))


def test_text_thoughts_and_calls() -> None:
    """In Anthropic's order."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
    bare = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
    found = message({"content": "hi", "reasoning": "hm", "tool_calls": [call, bare]}, finish_reason="tool_calls")
    assert [block.type for block in found.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.input for block in found.content if block.type == "tool_use"] == [{"a": [1]}, {}]
    assert (found.id, found.model, found.stop_reason) == ("msg_7", "up", "tool_use")


def test_signed_thoughts_are_told_with_their_signature() -> None:
    """So that they can be sent back; those of other providers have none."""
    signed = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    assert thoughts({"thinking_blocks": signed, "reasoning_content": "hm"}) == signed
    assert thoughts({"reasoning_content": "hm"}) == [{"type": "thinking", "thinking": "hm", "signature": ""}]
    assert thoughts({}) == []


def test_usage_is_split_as_anthropic_splits_it() -> None:
    """Input, cache reads and cache writes add up to what was read."""
    found = message({"content": "x"}).usage
    assert (found.input_tokens, found.cache_read_input_tokens, found.cache_creation_input_tokens) == (10, 4, 3)
    assert found.output_tokens_details is not None
    assert (found.output_tokens, found.output_tokens_details.thinking_tokens) == (50, 20)
    assert usage_document(None) == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize(("finish", "reason"), STOPS.items())
def test_every_finish_reason(finish: str, reason: str) -> None:
    """Has one of Anthropic's."""
    assert message({"content": "x"}, finish_reason=finish).stop_reason == reason


def test_anthropics_own_reason_is_kept_unless_a_stage_changed_the_end() -> None:
    """A guard that cut the answer has the last word."""
    kept = {"finish_reason": "stop", "native_finish_reason": "pause_turn"}
    assert stop_of(kept, None)[0] == "pause_turn"
    assert stop_of({**kept, "finish_reason": "content_filter"}, None)[0] == "refusal"
    assert stop_of({}, None)[0] == "end_turn"


def test_stop_strings_and_refusals() -> None:
    """The string that was met; the category that was filtered, and why."""
    met = message({"content": "x"}, stop_reason="END")
    assert (met.stop_reason, met.stop_sequence) == ("stop_sequence", "END")
    assert message({"content": "x"}, stop_reason=151645).stop_sequence is None  # vLLM's number of a token
    results = {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False}}
    cut = message({"content": "x"}, finish_reason="content_filter", content_filter_results=results)
    assert cut.stop_details is not None
    assert (cut.stop_reason, cut.stop_details.category, cut.stop_details.explanation) == (
        "refusal",
        None,
        "Filtered: hate.",
    )
    results = {"bio": {"filtered": True}}
    cut = message({"refusal": "No."}, finish_reason="content_filter", content_filter_results=results)
    assert cut.stop_details is not None
    assert (cut.stop_details.category, cut.stop_details.explanation) == ("bio", "No.")


def test_arguments_that_were_cut_are_told_as_they_are() -> None:
    """An answer that ran into its cap may break off inside a call."""
    call = {"id": "c", "function": {"name": "f", "arguments": '{"a": '}}
    (block,) = message({"tool_calls": [call]}, finish_reason="length").content
    assert block.type == "tool_use"
    assert block.input == {"_broken": '{"a": '}


def test_ids() -> None:
    """Anthropic's own goes through; any other becomes ours."""
    assert message_id({"id": "msg_x"}, "req_7") == "msg_x"
    assert message_id({}, "req_7") == "msg_7"
