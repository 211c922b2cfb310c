"""What an answer said, put together from whole answers and from pieces of streams, sound or not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Event
from app.pipeline.transcript import LONGEST, ToolCall, Transcript


def said(*docs: Any) -> Transcript:
    """The transcript of events with these documents, each in a batch of its own."""
    transcript = Transcript()
    for doc in docs:
        transcript.add([Event(b"", doc)])
    return transcript


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> Any:
    """A chunk of a streamed chat completion."""
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def test_a_stream() -> None:
    """Pieces in their order, and why it ended; other choices and the usage chunk say nothing."""
    whole = said(
        chunk(role="assistant", content=""),
        chunk(content="Hel"),
        chunk(1, content="no"),
        chunk(content="lo"),
        chunk(finish="length"),
        {"choices": [], "usage": {}},
    )
    assert (whole.text, whole.finish, whole.tools, whole.refusal, whole.cut) == ("Hello", "length", (), False, False)


def test_whole_answers() -> None:
    """A chat completion and a completion."""
    assert said({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}).text == "Hello"
    assert said({"choices": [{"text": "Hello"}]}, {"choices": [{"text": "!"}]}).text == "Hello!"


def test_a_declared_refusal() -> None:
    """It is text too: two refusals can be compared."""
    declined = said({"choices": [{"message": {"content": None, "refusal": "I will not."}}]})
    assert (declined.refusal, declined.text) == (True, "I will not.")


def test_tools_called_piece_by_piece() -> None:
    """Name once, arguments in pieces, several calls side by side."""
    calls = said(
        chunk(tool_calls=[{"index": 0, "function": {"name": "one", "arguments": ""}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
        chunk(tool_calls=[{"index": 1, "function": {"name": "two", "arguments": "{}"}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
    )
    assert calls.tools == (ToolCall("one", '{"a":1}'), ToolCall("two", "{}"))
    whole = {"function": {"name": "one", "arguments": "{}"}}
    assert len(said({"choices": [{"message": {"tool_calls": [whole, whole]}}]}).tools) == 2


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_long_answer_is_cut(pieces: int) -> None:
    """The bound holds over text and arguments together."""
    long = said(*[chunk(content="x" * LONGEST)] * pieces)
    assert (len(long.text), long.cut) == (LONGEST, pieces > 1)
    more = said(chunk(content="x" * LONGEST), chunk(tool_calls=[{"function": {"name": "n", "arguments": "{}"}}]))
    assert more.tools == (ToolCall("", ""),)
    assert more.cut


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "index", "delta", "message", "content", "refusal", "tool_calls", "function"])
            | st.sampled_from(["name", "arguments", "text", "finish_reason"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.just("choices"), st.lists(_json, max_size=3) | _json))
def test_nonsense_is_read_without_failing(doc: Any) -> None:
    """An upstream's odd event never ends a request here."""
    assert len(said(doc).text) <= LONGEST
