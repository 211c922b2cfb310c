"""Refusals in eight languages, formats, and how alike two answers are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.exchange import Event
from app.pipeline.looks import format_ok, refused, same_tools, similarity, truncated, wants_format
from app.pipeline.transcript import LONGEST, ToolCall, Transcript


def answer(text: str = "", finish: str = "stop", **message: Any) -> Transcript:
    """The transcript of a whole chat completion."""
    doc = {"choices": [{"message": {"content": text, **message}, "finish_reason": finish}]}
    transcript = Transcript()
    transcript.add([Event(orjson.dumps(doc), doc)])
    return transcript


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I can\u2019t assist.",
        "I cannot provide instructions for this.",
        "Es tut mir leid, das geht nicht.",
        "Ich kann Ihnen bei dieser Frage leider nicht helfen.",
        "Je suis désolée, je ne peux pas vous aider.",
        "Lo siento, no puedo ayudar con eso.",
        "Mi dispiace, non posso aiutarti.",
        "Sinto muito, mas não posso ajudar.",
        "申し訳ありませんが、お答えできません。",
        "抱歉。我无法提供帮助。",
    ],
)
def test_refusals(text: str) -> None:
    """As they begin in English, German, French, Spanish, Italian, Portuguese, Japanese and Chinese."""
    assert refused(answer(text))


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is a recipe.",
        "Ich kann das gern erklären.",
        "Der Himmel ist blau.",
        "Voici la réponse.",
        "Claro, aquí está.",
        "東京は日本の首都です。",
        "北京是中国的首都。",
        "",
        "x" * 300 + " I'm sorry, but I can't help.",
    ],
)
def test_what_is_no_refusal(text: str) -> None:
    """Plain answers, and an apology far behind the beginning."""
    assert not refused(answer(text))


def test_a_refusal_that_is_declared() -> None:
    """By the field, or by the provider's filter; an answer that calls tools does what was asked."""
    assert refused(answer("", refusal="no"))
    assert refused(answer("", "content_filter"))
    called = [{"function": {"name": "f", "arguments": "{}"}}]
    assert not refused(answer("I'm sorry, let me look.", tool_calls=called))


def test_truncated() -> None:
    """By length, and nothing else."""
    assert [truncated(answer("x", finish)) for finish in ("length", "stop", "content_filter")] == [True, False, False]


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def asked(schema: Any) -> dict[str, Any]:
    """A request for an answer by a schema."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


@pytest.mark.parametrize(
    ("text", "ok"),
    [('{"n": 1}', True), ('{"n": "1"}', False), ("{}", False), ('{"n": 1', False), ("Sure: {}", False), ("", False)],
)
def test_an_answer_by_a_schema(text: str, *, ok: bool) -> None:
    """It is valid JSON and follows the schema, or it is not."""
    assert format_ok(asked(SCHEMA), answer(text)) is ok


def test_any_json_object() -> None:
    """`json_object` asks for an object, whatever it holds."""
    wanted = {"response_format": {"type": "json_object"}}
    assert [format_ok(wanted, answer(text)) for text in ('{"a": 1}', "[]", "no")] == [True, False, False]


@pytest.mark.parametrize("body", [{}, {"response_format": {"type": "text"}}, {"response_format": None}])
def test_no_format_was_asked(body: dict[str, Any]) -> None:
    """Then there is nothing to judge."""
    assert not wants_format(body)
    assert format_ok(body, answer("text")) is None


@pytest.mark.parametrize(
    "schema",
    [{"type": "no such type"}, None, {"$ref": "http://127.0.0.1:9/schema"}, {"$ref": "file:///etc/passwd"}],
)
def test_a_schema_that_is_none(schema: Any) -> None:
    """It is not the answer's fault, and nothing is fetched."""
    assert format_ok(asked(schema), answer("{}")) is None


def test_a_schema_with_a_hard_pattern_is_quick() -> None:
    """Patterns are callers': they run in linear time, or not at all."""
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert format_ok(asked(schema), answer('"' + "a" * 5000 + 'b"')) is False


def test_what_cannot_be_judged() -> None:
    """An answer that is too long to be kept, and one that calls a tool."""
    assert format_ok(asked(SCHEMA), answer("x" * (LONGEST + 1))) is None
    assert format_ok(asked(SCHEMA), answer("", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])) is None


def test_the_same_tools() -> None:
    """Whatever the order of calls and of arguments; malformed arguments are compared as text."""
    one, two = ToolCall("f", '{"a": 1, "b": 2}'), ToolCall("f", '{"b":2,"a":1}')
    other = ToolCall("g", "{")
    assert same_tools((one, other), (other, two)) is True
    assert same_tools((one,), (ToolCall("f", '{"a": 1}'),)) is False
    assert same_tools((one,), ()) is False
    assert same_tools((one, one), (one,)) is False
    assert same_tools((), ()) is None


def test_similarity() -> None:
    """1 for the same but for case and spaces, 0 for nothing in common, in between by degrees; symmetric."""
    text = "The capital of France is Paris."
    assert similarity(text, text) == similarity(text, "the  capital of france is PARIS.") == 1.0
    assert similarity("", "") == 1.0
    assert similarity(text, "") == similarity("", text) < 0.1
    near, far = similarity(text, "The capital of France is Lyon."), similarity(text, "Bananas grow on trees.")
    assert 0.5 < near < 1.0
    assert far < 0.3
    assert similarity("东京是日本的首都", "东京是日本首都") > 0.3
