"""Prompts and answers as spans hold them: OpenTelemetry's JSON, redacted, bounded, of whatever shape they are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Event
from app.pipeline.content import MOST, answered, asked
from app.pipeline.transcript import Transcript
from tests.pipeline.parts import call


def told(body: dict[str, Any]) -> Any:
    """What is told of a request, every text in capitals."""
    text, cut = asked(call()._replace(body=body), str.upper)
    assert not cut
    return orjson.loads(text)


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ({"prompt": "hi"}, [{"role": "user", "parts": [{"type": "text", "content": "HI"}]}]),
        (
            {"input": ["a", "b"]},
            [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in ("A", "B")],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url"}]}]},
            [{"role": "user", "parts": [{"type": "text", "content": "HI"}, {"type": "image_url"}]}],
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            [{"role": "assistant", "parts": [{"type": "tool_call", "name": "F", "arguments": "{}"}]}],
        ),
        ({"prompt": [1, 2]}, []),
    ],
)
def test_a_prompt(body: dict[str, Any], messages: Any) -> None:
    """Chat, completion, embedding; images by their kind; token ids not at all."""
    assert told(body) == messages


def test_an_answer() -> None:
    """Its text and its calls of tools, and why it ended."""
    said = Transcript()
    message = {"content": "yes", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    said.add([Event(b"", {"choices": [{"message": message, "finish_reason": "stop"}]})])
    text, cut = answered(said, str.upper)
    parts = [{"type": "text", "content": "YES"}, {"type": "tool_call", "name": "F", "arguments": "{}"}]
    assert (orjson.loads(text), cut) == ([{"role": "assistant", "parts": parts, "finish_reason": "stop"}], False)


def test_what_is_long_is_cut() -> None:
    """All texts together, and it is said."""
    body = {"messages": [{"role": "user", "content": "x" * MOST}, {"role": "user", "content": "more"}]}
    text, cut = asked(call()._replace(body=body), str)
    assert cut
    assert "more" not in text


NAMES = st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "arguments"])
LEAVES = st.none() | st.text(max_size=3) | st.integers(0, 9)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_any_shape_is_told(messages: Any) -> None:
    """Validation lets through what the gateway need not understand."""
    asked(call()._replace(body={"messages": messages}), str)
