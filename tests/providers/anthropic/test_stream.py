"""Anthropic's events as chunks, in any split of the stream; valid by both SDKs' types."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from app.exchange import Event, JsonObject, Usage
from app.providers.anthropic.stream import AnthropicDecoder
from tests.pipeline.parts import call
from tests.support.vendor import adapter

MESSAGE: JsonObject = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": None,
    "stop_sequence": None, "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 1},
}  # fmt: skip
TOOL: JsonObject = {"type": "tool_use", "input": {}}
EVENTS: list[JsonObject] = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "xx"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "", "citations": None}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "I l"}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "ök. 🌊"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "content_block_start", "index": 3, "content_block": {**TOOL, "id": "t1", "name": "f"}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": " 1}"}},
    {"type": "content_block_stop", "index": 3},
    {"type": "content_block_start", "index": 4, "content_block": {**TOOL, "id": "t2", "name": "g"}},
    {"type": "content_block_stop", "index": 4},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 5}},
    },
    {"type": "message_stop"},
]  # fmt: skip


def body(*events: JsonObject) -> bytes:
    """The bytes of a stream."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), orjson.dumps(one)) for one in events)


def read(*pieces: bytes, **fields: Any) -> tuple[list[Event], AnthropicDecoder]:
    """What a stream in these pieces holds."""
    decoder = AnthropicDecoder(call(stream=True, **fields))
    return [event for piece in pieces for event in decoder.feed(piece)], decoder


def assembled(events: list[Event]) -> JsonObject:
    """The message that a caller puts together."""
    said: JsonObject = {"content": "", "reasoning_content": "", "thinking_blocks": [], "calls": {}}
    for event in events:
        for choice in event.doc["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content", "thinking_blocks"):
                said[name] += delta.get(name) or type(said[name])()
            for one in delta.get("tool_calls", []):
                known = said["calls"].setdefault(one["index"], {"id": one.get("id"), "name": "", "arguments": ""})
                known["name"] += one["function"].get("name", "")
                known["arguments"] += one["function"]["arguments"]
            said["finish"] = choice["finish_reason"]
    return said


def test_the_events_are_anthropics() -> None:
    """What this test feeds is what the SDK expects."""
    for event in EVENTS:
        if event["type"] != "ping":
            adapter(RawMessageStreamEvent).validate_python(event)


@given(st.lists(st.integers(0, len(body(*EVENTS))), max_size=6))
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    """Text, thoughts with their signature, parallel calls, one without arguments, the end, and usage once."""
    data = body(*EVENTS)
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places) if a < b]
    events, decoder = read(*pieces, stream_options={"include_usage": True})
    assert assembled(events) == {
        "content": "I lök. 🌊",
        "reasoning_content": "hm",
        "thinking_blocks": [{"type": "thinking", "signature": "sig"}, {"type": "redacted_thinking", "data": "xx"}],
        "calls": {
            0: {"id": "t1", "name": "f", "arguments": '{"a": 1}'},
            1: {"id": "t2", "name": "g", "arguments": "{}"},
        },
        "finish": "tool_calls",
    }
    assert decoder.finished
    assert [event.usage for event in events if event.usage] == [Usage(12, 1, 2), Usage(12, 30, 2, 0, 5)]
    assert sum(event.tokens for event in events) == 8
    for event in events:
        assert orjson.loads(event.data) == event.doc
        chunk = ChatCompletionChunk.model_validate(event.doc)
        assert (chunk.id, chunk.model) == ("msg_1", "claude-x")
    assert events[-1].doc["usage"]["completion_tokens"] == 30


def test_usage_is_hidden_unless_asked_for() -> None:
    """It is known all the same."""
    events, _ = read(body(*EVENTS))
    assert [event.hidden for event in events[-2:]] == [False, True]
    assert events[-1].usage is not None


def test_an_error_event_ends_it() -> None:
    """With the status that its type means; what came before was handed out."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events, decoder = read(body(*EVENTS[:11], error, *EVENTS[11:]))
    assert assembled(events)["content"] == "I lök. 🌊"
    assert decoder.failure is not None
    assert (decoder.failure.error, decoder.finished) == (529, False)


@pytest.mark.parametrize(
    "event",
    [
        b"data: {\n\n", b"data: []\n\n", b"data: {}\n\n", b'data: {"type": "message_start"}\n\n',
        b'data: {"type": "content_block_delta", "index": 0}\n\n',
        b'data: {"type": "content_block_start", "content_block": {"type": "new_kind"}}\n\n',
        b'data: {"type": "message_delta", "delta": 7}\n\n',
    ],
)  # fmt: skip
def test_malformed_events(event: bytes) -> None:
    """Are a failure of the upstream, not a crash."""
    _, decoder = read(body(*EVENTS[:2]), event)
    assert decoder.failure is not None
    assert (decoder.failure.error, decoder.failure.doc) == (502, {})


def test_kinds_of_events_that_are_new_are_read_over() -> None:
    """As Anthropic asks its clients to."""
    events, decoder = read(body(EVENTS[0], {"type": "brand_new"}, *EVENTS[19:]))
    assert (len(events), decoder.finished) == (3, True)


def test_an_end_that_comes_too_soon() -> None:
    """Before the stop reason it is cut; after it, only the last word is missing."""
    with pytest.raises(ValueError, match="ended before"):
        read(body(*EVENTS[:10]), b"")
    assert read(body(*EVENTS[:-1]), b"")[1].finished


def test_whole_answers() -> None:
    """A message, an error with status 200, or neither."""
    decoder = AnthropicDecoder(call())
    (event,) = decoder.body(orjson.dumps({**MESSAGE, "content": [{"type": "text", "text": "x"}]}))
    assert (event.doc["choices"][0]["message"]["content"], decoder.finished) == ("x", True)
    decoder = AnthropicDecoder(call())
    assert decoder.body(b'{"type": "error", "error": {"type": "api_error"}}') == []
    assert decoder.failure is not None
    with pytest.raises(ValueError, match="JSON object"):
        AnthropicDecoder(call()).body(b"[]")
    odds: list[JsonObject] = [{"usage": "none"}, {"usage": {"service_tier": []}}, {"stop_reason": {}}]
    for odd in odds:
        with pytest.raises(ValueError, match="not as Anthropic's are"):
            AnthropicDecoder(call()).body(orjson.dumps({**MESSAGE, "content": [], **odd}))
