"""Chunks as Anthropic's events: in the order that its SDK wants, whatever the chunks hold."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent

from app.api.messages.stream import MessagesWriter
from app.errors import OVERLOADED, GatewayError
from app.exchange import Event, JsonObject, Operation, Usage
from app.pipeline.progress import Progress
from tests.pipeline.parts import call
from tests.support.vendor import adapter

END: dict[str, Any] = {"finish_reason": "tool_calls"}


def writer(operation: Operation = Operation.CHAT) -> MessagesWriter:
    """A fresh one."""
    progress = Progress("req_7", operation)
    progress.call = call(stream=True)
    return MessagesWriter(progress)


def chunk(delta: JsonObject | None = None, usage: Usage | None = None, **choice: Any) -> Event:
    """One chunk of the first choice; without a delta the usage chunk."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None, **choice}]
    doc = {"id": "chatcmpl-1", "model": "up", "choices": choices}
    return Event(orjson.dumps(doc), doc, usage=usage)


def told(*chunks: Event) -> list[JsonObject]:
    """The events, each valid by the SDK and named by its type."""
    one = writer()
    body = b"".join(one.events([each]) for each in chunks) + one.end(None)
    events = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] != "ping":
            adapter(RawMessageStreamEvent).validate_python(event)
        events.append(event)
    return events


def test_text() -> None:
    """Start, ping, one block, the end with the usage."""
    events = told(chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}), chunk({"content": "ö"}),
                  chunk({}, finish_reason="stop"), chunk(None, Usage(9, 2)))  # fmt: skip
    assert [event["type"] for event in events] == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert [event["delta"]["text"] for event in events[3:5]] == ["a", "ö"]
    assert events[0]["message"]["id"] == "msg_7"
    assert (events[6]["delta"]["stop_reason"], events[6]["usage"]["input_tokens"]) == ("end_turn", 9)


def test_thoughts_text_and_parallel_calls() -> None:
    """A block for each, one after the other, numbered."""
    thought = {"type": "thinking", "signature": "sig"}
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    events = told(
        chunk({"reasoning_content": "h"}), chunk({"reasoning": "m"}), chunk({"thinking_blocks": [thought]}),
        chunk({"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}), chunk({"content": "hi"}),
        chunk({"tool_calls": [first]}), chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}),
        chunk({"tool_calls": [second]}), chunk({}, **END),
    )  # fmt: skip
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [(block["type"], block.get("id")) for block in starts] == [
        ("thinking", None), ("redacted_thinking", None), ("text", None), ("tool_use", "c1"), ("tool_use", "c2"),
    ]  # fmt: skip
    deltas = [(event["index"], event["delta"]) for event in events if event["type"] == "content_block_delta"]
    assert deltas == [
        (0, {"type": "thinking_delta", "thinking": "h"}),
        (0, {"type": "thinking_delta", "thinking": "m"}),
        (0, {"type": "signature_delta", "signature": "sig"}),
        (2, {"type": "text_delta", "text": "hi"}),
        (3, {"type": "input_json_delta", "partial_json": '{"a":1}'}),
        (4, {"type": "input_json_delta", "partial_json": "{}"}),
    ]
    depth = [event["type"] for event in events if event["type"].startswith("content_block_st")]
    assert depth == ["content_block_start", "content_block_stop"] * 5


def test_an_end_without_a_reason_or_a_chunk() -> None:
    """Is an end all the same."""
    assert [event["type"] for event in told()] == ["message_start", "ping", "message_delta", "message_stop"]


def test_a_refusal_explains_the_end() -> None:
    """One that comes with the end; one that comes before it is what the model said."""
    filtered: dict[str, Any] = {
        "finish_reason": "content_filter",
        "content_filter_results": {"cyber": {"filtered": True}},
    }
    events = told(chunk({"content": "a"}), chunk({"refusal": "No."}, **filtered))
    assert events[-2]["delta"]["stop_details"] == {"type": "refusal", "category": "cyber", "explanation": "No."}
    assert sum(event["type"] == "content_block_delta" for event in events) == 1
    events = told(chunk({"refusal": "I can't."}), chunk({}, finish_reason="stop"))
    assert [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"] == ["I can't."]


def test_other_choices_are_not_told() -> None:
    """Anthropic has one answer."""
    events = told(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, finish_reason="stop"))
    assert sum(event["type"] == "content_block_delta" for event in events) == 1


def test_an_error_in_a_stream() -> None:
    """As an event that the SDK raises."""
    event = writer().end(GatewayError(OVERLOADED, "busy")).decode()
    assert event.startswith("event: error\ndata: {")
    assert '"type":"overloaded_error"' in event


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0, "function": 7}]}, {"tool_calls": 7}, {"content": 7}, {"thinking_blocks": [{}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g"}}, {"index": 0, "function": {}}]},
    ],
)  # fmt: skip
def test_chunks_that_mean_nothing(delta: Any) -> None:
    """Are the upstream's fault, not a bug."""
    one = writer()
    with pytest.raises(GatewayError) as failed:
        one.events([Event(b"", {"choices": [{"index": 0, "delta": delta}]})])
    assert failed.value.status == 502


def test_a_finish_reason_that_is_no_word() -> None:
    """Is the upstream's fault while it comes, not a bug at the end."""
    with pytest.raises(GatewayError) as failed:
        writer().events([Event(b"", {"choices": [{"index": 0, "delta": {}, "finish_reason": ["stop"]}]})])
    assert failed.value.status == 502


def test_whole_answers() -> None:
    """A message, or the number of its prompt's tokens; what is neither is malformed."""
    doc = {"id": "x", "model": "up", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert Message.model_validate_json(writer().whole(Event(b"", doc))).stop_reason == "end_turn"
    assert writer(Operation.TOKENIZE).whole(Event(b"", {"count": 5})) == b'{"input_tokens":5}'
    with pytest.raises(GatewayError):
        writer().whole(Event(b"", {"choices": []}))
