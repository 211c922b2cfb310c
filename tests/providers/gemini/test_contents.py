"""A conversation as Gemini's contents, valid by Google's SDK."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from app.errors import GatewayError
from app.exchange import JsonObject
from app.providers.conversation import turns
from app.providers.gemini.contents import split
from tests.providers.dialogues import EVERYTHING, PNG, conversations, tool_call
from tests.support.vendor import gemini_request


def translated(messages: list[JsonObject]) -> tuple[Any, list[JsonObject]]:
    """System instruction and contents."""
    return split(turns(messages))


def test_one_of_everything() -> None:
    """Parallel calls and their results keep ids and names; the image is inline; the system prompt apart."""
    system, contents = translated(EVERYTHING)
    assert system == {"parts": [{"text": "Be brief."}]}
    assert [content["role"] for content in contents] == ["user", "model", "user", "model", "user"]
    assert contents[1]["parts"] == [
        {"text": "I look."},
        {"functionCall": {"id": "call_1", "name": "get_weather", "args": {"city": "Paris"}}},
        {"functionCall": {"id": "call_2", "name": "get_time", "args": {}}},
    ]
    assert contents[2]["parts"][0] == {
        "functionResponse": {"id": "call_1", "name": "get_weather", "response": {"result": "18 °C"}}
    }
    assert contents[4]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": PNG}}


@settings(max_examples=50)
@given(conversations())
def test_every_conversation_is_valid_and_nothing_is_lost(messages: list[JsonObject]) -> None:
    """By the SDK's types; every text stands in it."""
    system, contents = translated(messages)
    body = {"contents": contents} | ({"systemInstruction": system} if system is not None else {})
    assert gemini_request(body) == []
    said = str([system, contents])
    for message in messages:
        if isinstance(message["content"], str):
            assert repr(message["content"]) in said


def test_signatures_ids_failures_and_addresses() -> None:
    """A signature goes back with its call; an id that we made does not; later instructions join the first."""
    call = tool_call("call_gemini_1", "f") | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    system, contents = translated(
        [
            {"role": "system", "content": "a"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_gemini_1", "content": [image], "is_error": True},
            {"role": "developer", "content": "b"},
        ]
    )
    assert system == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert contents[0]["parts"] == [{"fileData": {"mimeType": "image/png", "fileUri": "https://e.org/a.png"}}]
    assert contents[1]["parts"] == [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]
    response, shown = contents[2]["parts"]
    assert response == {"functionResponse": {"name": "f", "response": {"error": ""}}}
    assert "inlineData" in shown
    thought = {"type": "thinking", "thinking": "x", "signature": "s"}
    said = {"role": "assistant", "content": "y", "thinking_blocks": [thought]}
    assert translated([{"role": "user", "content": "x"}, said])[1][1]["parts"] == [{"text": "y"}]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "only"}], "messages"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a"}}]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [
                {
                    "role": "system",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}],
                }
            ],
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_what_gemini_cannot_read_is_refused(messages: list[JsonObject], param: str) -> None:
    """By name."""
    with pytest.raises(GatewayError) as refused:
        translated(messages)
    assert refused.value.param == param
