"""Prompts and answers as spans hold them: OpenTelemetry's JSON, redacted, bounded, of whatever shape they are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Event
from app.pipeline.content import MOST, answered, asked, cleaned
from app.pipeline.transcript import LONGEST, Transcript
from app.safety.redactor import Redactor
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


@pytest.mark.parametrize("where", range(MOST - 20, MOST + 1))
def test_a_number_at_the_cut_is_taken_out_whole(where: int) -> None:
    """It is looked for before the text is cut, wherever the cut goes through it."""
    body = {"prompt": "x" * (where - 1) + " 4111 1111 1111 1111 " + "and more " * 9}
    text, cut = asked(call()._replace(body=body), Redactor())
    assert cut
    assert "4111" not in text


@pytest.mark.parametrize("before", [3000, 30_000])
def test_where_a_long_text_ends_to_be_looked_at_nothing_is_told(before: int) -> None:
    """Much that was taken out brings its end into view; what stands there may be half of something."""
    address = "somebody.with.a.long.name@example.com "
    texts = address * (MOST // len(address) + 60)
    for end in range(MOST + 1024 - 20, MOST + 1024):
        prompt = texts[: end - 1] + " 4111 1111 1111 1111 and more" + "y" * before
        text, cut = asked(call()._replace(body={"prompt": prompt}), Redactor())
        assert cut
        assert "4111" not in text


def test_an_answer_that_was_cut_when_it_was_read_ends_before_the_cut() -> None:
    """The same where nobody has the rest of it any more."""
    text, cut = cleaned("fine " * 400 + "4111 1111 11", Redactor(), LONGEST, torn=True)
    assert cut
    assert text.startswith("fine fine")
    assert "4111" not in text
    assert cleaned("4111 1111 1", str, LONGEST, torn=True) == ("", True)


def test_why_an_answer_ended_is_bounded() -> None:
    """An upstream may say anything."""
    said = Transcript()
    said.add([Event(b"", {"choices": [{"message": {"content": "x"}, "finish_reason": "y" * 9999}]})])
    (message,) = orjson.loads(answered(said, str)[0])
    assert message["finish_reason"] == "y" * 64


NAMES = st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "arguments"])
LEAVES = st.none() | st.text(max_size=3) | st.integers(0, 9)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_any_shape_is_told(messages: Any) -> None:
    """Validation lets through what the gateway need not understand."""
    asked(call()._replace(body={"messages": messages}), str)
