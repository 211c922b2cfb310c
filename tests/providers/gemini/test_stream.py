"""Gemini's stream and whole answers as completions, in any split; valid by both SDKs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.exchange import Event, JsonObject, Usage
from app.providers.gemini.stream import GeminiDecoder
from tests.pipeline.parts import call


def piece(*parts: JsonObject, index: int = 0, usage: int | None = None, **fields: Any) -> JsonObject:
    """One answer of a stream, as the SDK knows it."""
    doc: JsonObject = {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": index, **fields}]}
    doc |= {"modelVersion": "gemini-x", "responseId": "r1"}
    if usage is not None:
        doc["usageMetadata"] = {"promptTokenCount": 9, "candidatesTokenCount": usage, "totalTokenCount": 9 + usage}
    types.GenerateContentResponse.model_validate(doc)
    return doc


CALL = {"functionCall": {"name": "f", "args": {"ä": [1]}}}
PIECES = [
    piece({"text": "hm", "thought": True}, usage=0),
    piece({"text": "I l"}, usage=2),
    piece({"text": "ök 🌊"}, usage=4),
    piece(CALL, usage=6),
    piece(CALL, {"text": ""}, usage=8, finishReason="STOP"),
]
BLOCK: JsonObject = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "gemini-x", "responseId": "r1",
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
}  # fmt: skip


def body(*docs: JsonObject) -> bytes:
    """The bytes of a stream."""
    return b"".join(b"data: %b\r\n\r\n" % orjson.dumps(doc) for doc in docs)


def read(*pieces: bytes, **fields: Any) -> tuple[list[Event], GeminiDecoder]:
    """What a stream in these pieces holds."""
    decoder = GeminiDecoder(call(stream=True, **fields))
    return [event for one in pieces for event in decoder.feed(one)], decoder


@settings(max_examples=50)
@given(st.lists(st.integers(0, len(body(*PIECES))), max_size=5))
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    """Thought, text, two calls with their own indices, the end, usage at the very end."""
    data = body(*PIECES)
    pieces = [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)]) if a < b]
    events, decoder = read(*pieces, b"", stream_options={"include_usage": True})
    deltas = [choice["delta"] for event in events for choice in event.doc["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "I lök 🌊"
    assert deltas[0] == {"role": "assistant", "reasoning_content": "hm"}
    calls = [one for delta in deltas for one in delta.get("tool_calls", [])]
    assert [(one["index"], one["function"]["arguments"]) for one in calls] == [(0, '{"ä":[1]}'), (1, '{"ä":[1]}')]
    assert len({one["id"] for one in calls}) == 2
    assert events[-2].doc["choices"][0]["finish_reason"] == "tool_calls"
    assert (events[-1].usage, events[-1].hidden, decoder.finished) == (Usage(9, 8), False, True)
    assert sum(event.tokens for event in events) == 5
    for event in events:
        assert orjson.loads(event.data) == event.doc
        assert ChatCompletionChunk.model_validate(event.doc).id == "chatcmpl-r1"


def test_usage_is_hidden_unless_asked_for() -> None:
    """It is known all the same, from the first piece on."""
    events, _ = read(body(*PIECES), b"")
    assert [event.hidden for event in events] == [False] * 5 + [True]
    assert events[0].usage == Usage(9, 0)


def test_several_candidates_end_one_by_one() -> None:
    """The stream is whole when each has."""
    ended = [piece({"text": "a"}, finishReason="STOP"), piece({"text": "b"}, index=1, finishReason="MAX_TOKENS")]
    events, decoder = read(body(*ended), b"", n=2)
    assert [event.doc["choices"][0]["finish_reason"] for event in events[:2]] == ["stop", "length"]
    assert decoder.finished
    with pytest.raises(ValueError, match="ended before"):
        read(body(ended[0]), b"", n=2)


def test_a_blocked_prompt_is_an_answer_that_was_filtered() -> None:
    """With its reason, and its tokens on the bill."""
    events, decoder = read(body(BLOCK), b"")
    choice = events[0].doc["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("content_filter", "PROHIBITED_CONTENT")
    assert events[0].doc["prompt_filter_results"][0]["content_filter_results"] == {
        "prohibited_content": {"filtered": True}
    }
    assert (decoder.finished, events[0].usage) == (True, Usage(9, 0))
    (whole,) = GeminiDecoder(call()).body(orjson.dumps(BLOCK))
    assert ChatCompletion.model_validate(whole.doc).choices[0].finish_reason == "content_filter"
    assert whole.usage == Usage(9, 0)


def test_an_error_in_a_stream_ends_it() -> None:
    """With its status."""
    _, decoder = read(body(PIECES[0], {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}))
    assert decoder.failure is not None
    assert decoder.failure.error == 503


@pytest.mark.parametrize(
    "event",
    [
        b"{", b"[]", b"7", b'{"candidates": 7}', b'{"candidates": [{"content": {"parts": [{"x": 1}]}}]}',
        b'{"candidates": [{"index": []}]}', b'{"candidates": [{"index": "0"}]}',
    ],
)  # fmt: skip
def test_malformed_pieces(event: bytes) -> None:
    """Are a failure of the upstream, not a crash."""
    _, decoder = read(body(PIECES[0]), b"data: " + event + b"\n\n")
    assert decoder.failure is not None
    assert decoder.failure.error == 502


def test_an_end_that_comes_too_soon() -> None:
    """Before a finish reason it is cut."""
    with pytest.raises(ValueError, match="ended before"):
        read(body(*PIECES[:3]), b"")


def test_whole_answers() -> None:
    """A completion, an error with status 200, or neither."""
    (event,) = GeminiDecoder(call()).body(orjson.dumps(piece({"text": "x"}, usage=1, finishReason="STOP")))
    assert ChatCompletion.model_validate(event.doc).choices[0].message.content == "x"
    assert event.usage == Usage(9, 1)
    decoder = GeminiDecoder(call())
    assert decoder.body(b'{"error": {"code": 500}}') == []
    assert decoder.failure is not None
    for wrong in (b"[]", b"{}", b'{"candidates": [7]}'):
        with pytest.raises(ValueError, match=r"JSON object|no candidates|not as Gemini"):
            GeminiDecoder(call()).body(wrong)
