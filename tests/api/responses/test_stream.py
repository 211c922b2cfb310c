"""Chunks as events of a response: valid by the SDK, numbered, and the last one holds what the others told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from app.api.responses.stream import ResponsesWriter
from app.errors import OVERLOADED, RATE_LIMIT_EXCEEDED, GatewayError
from app.exchange import Event, JsonObject, Usage
from tests.api.responses.test_answer import progress
from tests.support.vendor import adapter


def chunk(delta: JsonObject | None = None, usage: Usage | None = None, **choice: Any) -> Event:
    """One chunk of the first choice; without a delta the usage chunk."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None, **choice}]
    doc = {"id": "chatcmpl-1", "model": "up", "choices": choices}
    return Event(orjson.dumps(doc), doc, usage=usage)


def parsed(body: bytes) -> list[JsonObject]:
    """The events, each valid by the SDK, named by its type and numbered."""
    events = []
    for number, block in enumerate(body.decode().split("\n\n")[:-1]):
        name, data = block.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert (name, event["sequence_number"]) == (f"event: {event['type']}", number)
        adapter(ResponseStreamEvent).validate_python(event)
        events.append(event)
    return events


def told(*chunks: Event) -> list[JsonObject]:
    """The events of a stream."""
    one = ResponsesWriter(progress())
    return parsed(b"".join(one.events([each]) for each in chunks) + one.end(None))


def test_thoughts_text_and_parallel_calls() -> None:
    """An item for each; the deltas make up what is told at its end, and in the whole response."""
    thought = {"type": "thinking", "signature": "sig"}
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    events = told(
        chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "h"}), chunk({"reasoning": "m"}),
        chunk({"thinking_blocks": [thought]}), chunk({"content": "hi"}), chunk({"content": "!"}),
        chunk({"tool_calls": [first]}), chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}),
        chunk({"tool_calls": [second]}), chunk({}, finish_reason="tool_calls"), chunk(None, Usage(9, 4)),
    )  # fmt: skip
    response = Response.model_validate(events[-1]["response"])
    assert (events[-1]["type"], [item.type for item in response.output]) == (
        "response.completed", ["reasoning", "message", "function_call", "function_call"],
    )  # fmt: skip
    assert (response.output_text, response.usage and response.usage.output_tokens) == ("hi!", 4)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert added == [item["id"] for item in done]
    arguments = [event["arguments"] for event in events if event["type"] == "response.function_call_arguments.done"]
    assert arguments == ['{"a":1}', "{}"]
    assert [(item["call_id"], item["name"]) for item in done[2:]] == [("c1", "f"), ("c2", "g")]


def test_text_with_logprobs() -> None:
    """They ride on the delta."""
    one = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    events = told(chunk({"content": "a"}, logprobs={"content": [one]}), chunk({}, finish_reason="stop"))
    assert events[4]["logprobs"] == [one]


def test_other_ends() -> None:
    """A refusal is an item of its own kind; a cap makes the response incomplete; nothing at all is complete."""
    events = told(chunk({"refusal": "no"}), chunk({}, finish_reason="length"), chunk({"content": "x"}, index=1))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]
    assert [event["type"] for event in told()] == ["response.created", "response.in_progress", "response.completed"]


@pytest.mark.parametrize(("code", "word"), [(OVERLOADED, "server_error"), (RATE_LIMIT_EXCEEDED, "rate_limit_exceeded")])
def test_an_error_in_a_stream(code: Any, word: str) -> None:
    """The response failed, and an error that the SDK raises."""
    one = ResponsesWriter(progress())
    failed, error = parsed(one.events([chunk({"content": "a"})]) + one.end(GatewayError(code, "busy")))[-2:]
    assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", word)
    assert (error["type"], error["error"]["message"], error["code"]) == ("error", "busy", code.name)


@pytest.mark.parametrize(
    "delta", [{"tool_calls": 7}, {"content": 7}, {"thinking_blocks": [{}]}, {"tool_calls": [{"index": "x"}]}]
)
def test_chunks_that_mean_nothing(delta: Any) -> None:
    """Are the upstream's fault, not a bug."""
    one = ResponsesWriter(progress())
    with pytest.raises(GatewayError) as broken:
        one.events([Event(b"", {"choices": [{"index": 0, "delta": delta}]})])
    assert broken.value.status == 502
    with pytest.raises(GatewayError):
        one.whole(Event(b"", {"choices": []}))


def test_a_finish_reason_that_is_no_word() -> None:
    """Is the upstream's fault while it comes, not a bug at the end."""
    with pytest.raises(GatewayError) as failed:
        ResponsesWriter(progress()).events(
            [Event(b"", {"choices": [{"index": 0, "delta": {}, "finish_reason": ["stop"]}]})]
        )
    assert failed.value.status == 502
