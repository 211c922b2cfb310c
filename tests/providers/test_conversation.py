"""OpenAI's messages as turns: what is kept, what is joined, and every mistake named by its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from app.errors import GatewayError
from app.exchange import JsonObject
from app.providers.conversation import turns
from app.providers.parts import Media, Text, Thinking, ToolCall, ToolResult
from tests.providers.dialogues import EVERYTHING, EXCHANGE, PNG, conversations, tool_call

CALLED = EXCHANGE[:2]


def test_one_of_everything() -> None:
    """Results of tools and what the user says next are one turn; calls and results keep their order and names."""
    found = turns(EVERYTHING)
    assert [turn.role for turn in found] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert found[2].parts == (
        Text("I look."),
        ToolCall("call_1", "get_weather", {"city": "Paris"}),
        ToolCall("call_2", "get_time", {}),
    )
    assert found[3].parts == (
        ToolResult("call_1", "get_weather", (Text("18 °C"),), failed=False),
        ToolResult("call_2", "get_time", (Text("noon"),), failed=False),
    )
    place = "messages[6].content[1].image_url.url"
    assert found[5].parts == (Text("And this?"), Media(place, "image/png", PNG, None))


@given(conversations())
def test_nothing_is_lost(messages: list[JsonObject]) -> None:
    """Every text, image, call and result of a conversation is in its turns, in order."""
    said = [part for turn in turns(messages) for part in turn.parts]
    wanted: list[Any] = []
    for message in messages:
        content = message["content"]
        if message["role"] == "tool":
            wanted.append(("result", message["tool_call_id"], content))
            continue
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        wanted += [part["text"] if part["type"] == "text" else "image" for part in parts]
        wanted += [("call", call["id"], call["function"]["name"]) for call in message.get("tool_calls", [])]
    found: list[Any] = []
    for part in said:
        match part:
            case Text(text):
                found.append(text)
            case Media():
                found.append("image")
            case ToolCall():
                found.append(("call", part.id, part.name))
            case ToolResult():
                texts = "".join(one.text for one in part.content if isinstance(one, Text))
                found.append(("result", part.id, texts))
    assert found == wanted


def test_what_goes_beyond_openai() -> None:
    """Cache hints, signed thoughts, signatures of calls, failed tools, files and sounds."""
    hint = {"type": "ephemeral"}
    call = tool_call("c", "f") | {"extra_content": {"google": {"thought_signature": "sig"}}}
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xx"},
    ]
    (user, assistant, result) = turns(
        [
            {"role": "developer", "content": [{"type": "text", "text": "a", "cache_control": hint}]},
            {"role": "assistant", "content": None, "thinking_blocks": blocks, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "", "is_error": True},
        ]
    )
    assert (user.role, user.parts) == ("system", (Text("a", hint),))
    assert assistant.parts == (Thinking("hm", "s"), Thinking("", "", "xx"), ToolCall("c", "f", {}, "sig"))
    assert result.parts == (ToolResult("c", "f", (), failed=True),)
    (media,) = turns(
        [
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
                    {"type": "image_url", "image_url": "https://example.com/a.png"},
                ],
            }
        ]
    )
    assert [(one.kind, one.data, one.url) for one in media.parts if isinstance(one, Media)] == [
        ("application/pdf", "QQ==", None),
        ("audio/wav", "QQ==", None),
        (None, None, "https://example.com/a.png"),
    ]


def said(**message: Any) -> list[JsonObject]:
    """A conversation of one assistant's message after a user's."""
    return [{"role": "user", "content": "x"}, {"role": "assistant", **message}]


def asked(content: Any) -> list[JsonObject]:
    """A conversation of one user's message."""
    return [{"role": "user", "content": content}]


def image(url: str | None) -> JsonObject:
    """A part."""
    return {"type": "image_url", "image_url": {"url": url}}


def sound(kind: str | None) -> JsonObject:
    """A part."""
    return {"type": "input_audio", "input_audio": {"data": "QQ==", "format": kind}}


def called(arguments: str) -> list[JsonObject]:
    """A conversation that ends with a call."""
    return said(content=None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": arguments}}])


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (asked(""), "messages[0].content"),
        (asked([]), "messages[0].content"),
        (asked([{"type": "text", "text": ""}]), "messages[0].content"),
        (asked([7]), "messages[0].content[0]"),
        (asked(7), "messages[0].content"),
        (asked([{"type": "video"}]), "messages[0].content[0].type"),
        (asked([{"type": "text"}]), "messages[0].content[0].text"),
        (asked([image(None)]), "messages[0].content[0].image_url.url"),
        (asked([image("data:image/png,x")]), "messages[0].content[0].image_url.url"),
        (asked([{"type": "file", "file": {"file_id": "f"}}]), "messages[0].content[0].file.file_data"),
        (asked([sound("ogg")]), "messages[0].content[0].input_audio.format"),
        (asked([{"type": "input_audio", "input_audio": 1}]), "messages[0].content[0].input_audio"),
        ([{"role": "judge", "content": "x"}], "messages[0].role"),
        ([{"role": "function", "content": "x"}], "messages[0].role"),
        ([{"role": "tool", "tool_call_id": "c", "content": "x"}], "messages[0].tool_call_id"),
        ([*CALLED, {"role": "tool", "tool_call_id": "call_9", "content": "x"}], "messages[2].tool_call_id"),
        ([*EXCHANGE, {"role": "tool", "tool_call_id": "call_1", "content": "x"}], "messages[4].tool_call_id"),
        ([*EXCHANGE[:3], {"role": "user", "content": "x"}], "messages[1].tool_calls[1]"),
        (CALLED, "messages[1].tool_calls[0]"),
        ([*EXCHANGE, *CALLED], "messages[5].tool_calls[0].id"),
        (said(content=None), "messages[1].content"),
        (said(content=None, tool_calls="x"), "messages[1].tool_calls"),
        (said(content=None, tool_calls=[7]), "messages[1].tool_calls[0]"),
        (said(content=None, tool_calls=[{"id": "c", "function": {}}]), "messages[1].tool_calls[0].function.name"),
        (said(content=None, tool_calls=[{"function": {"name": "f"}}]), "messages[1].tool_calls[0].id"),
        (called("{"), "messages[1].tool_calls[0].function.arguments"),
        (called("[]"), "messages[1].tool_calls[0].function.arguments"),
        (said(function_call={"name": "f"}), "messages[1].function_call"),
        (said(audio={"id": "a"}), "messages[1].audio"),
        (said(thinking_blocks=[{"type": "thinking", "thinking": "x"}]), "messages[1].thinking_blocks[0]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(messages: list[JsonObject], param: str) -> None:
    """A 400 each, before anything is sent."""
    with pytest.raises(GatewayError) as refused:
        turns(messages)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert f"`{param.split('.', maxsplit=1)[0].split('[', maxsplit=1)[0]}" in refused.value.message
