"""A conversation in Anthropic's blocks, valid by its own SDK's types."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from app.errors import GatewayError
from app.exchange import JsonObject
from app.providers.anthropic.messages import split
from app.providers.conversation import turns
from tests.providers.dialogues import EVERYTHING, PNG, conversations, tool_call
from tests.support.vendor import anthropic_request

HINT = {"type": "ephemeral"}


def translated(messages: list[JsonObject]) -> tuple[Any, list[JsonObject]]:
    """System and messages."""
    return split(turns(messages))


def test_one_of_everything() -> None:
    """Parallel calls, their results in one message, an image, the system prompt apart."""
    system, messages = translated(EVERYTHING)
    assert system == "Be brief."
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[1]["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_2", "name": "get_time", "input": {}},
    ]
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "18 °C"},
        {"type": "tool_result", "tool_use_id": "call_2", "content": "noon"},
    ]
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert messages[4]["content"][1] == {"type": "image", "source": source}


@given(conversations())
def test_every_conversation_is_valid(messages: list[JsonObject]) -> None:
    """By the SDK's types, without a field that they do not know."""
    system, found = translated(messages)
    body = {"model": "m", "max_tokens": 1, "messages": found} | ({"system": system} if system is not None else {})
    assert anthropic_request(body) == []


def test_hints_thoughts_and_documents() -> None:
    """What only Anthropic has."""
    call = tool_call("c", "f") | {"cache_control": HINT}
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xx"},
    ]
    pdf = {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}}
    system, messages = translated(
        [
            {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": HINT}]},
            {"role": "user", "content": [pdf, {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]},
            {"role": "assistant", "content": None, "thinking_blocks": blocks, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "", "is_error": True},
            {"role": "system", "content": "From now on in French."},
        ]
    )
    assert system == [{"type": "text", "text": "a", "cache_control": HINT}]
    document, image = messages[0]["content"]
    assert (document["type"], document["title"], document["source"]["data"]) == ("document", "a.pdf", "QQ==")
    assert image["source"] == {"type": "url", "url": "https://e.org/a.png"}
    called = {"type": "tool_use", "id": "c", "name": "f", "input": {}, "cache_control": HINT}
    assert messages[1]["content"] == [*blocks, called]
    assert messages[2]["content"] == [{"type": "tool_result", "tool_use_id": "c", "is_error": True}]
    assert messages[3] == {"role": "system", "content": "From now on in French."}
    assert anthropic_request({"model": "m", "max_tokens": 1, "messages": messages, "system": system}) == []


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "only"}], "messages"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,QQ=="}}]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]}],
            "messages[0].content[0].input_audio",
        ),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,Q=="}}]}],
            "messages[0].content[0].image_url.url",
        ),
    ],
)  # fmt: skip
def test_what_anthropic_cannot_read_is_refused(messages: list[JsonObject], param: str) -> None:
    """By name."""
    with pytest.raises(GatewayError) as refused:
        translated(messages)
    assert refused.value.param == param
