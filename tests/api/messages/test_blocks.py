"""Anthropic's blocks as OpenAI's messages, and every mistake named in Anthropic's terms."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.messages.blocks import messages, system
from app.errors import GatewayError
from app.exchange import JsonObject

HINT = {"type": "ephemeral"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
PDF = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="},
}
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "note"}}


def translated(*found: JsonObject) -> list[JsonObject]:
    """The messages."""
    return list(messages(list(found)))


def user(*content: Any) -> JsonObject:
    """A message of the user's."""
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> JsonObject:
    """A message of the assistant's."""
    return {"role": "assistant", "content": list(content)}


def test_texts_images_and_documents() -> None:
    """One plain text is a string; a hint keeps it a part."""
    text = {"type": "text", "text": "a"}
    assert translated(user(text), {"role": "user", "content": "b"}, {"role": "system", "content": "c"}) == [
        {"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "system", "content": "c"},
    ]  # fmt: skip
    ((message),) = translated(user({**text, "cache_control": HINT}, IMAGE, PDF, NOTE))
    assert message["content"] == [
        {"type": "text", "text": "a", "cache_control": HINT},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
        {"type": "text", "text": "note"},
    ]


def test_results_come_before_what_the_user_says() -> None:
    """Each is a message of its own, in its place."""
    found = translated(
        user(
            {"type": "tool_result", "tool_use_id": "t1", "content": "18"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": [IMAGE], "cache_control": HINT},
            {"type": "tool_result", "tool_use_id": "t3"},
            {"type": "text", "text": "go on"},
        )
    )
    assert found == [
        {"role": "tool", "tool_call_id": "t1", "content": "18"},
        {
            "role": "tool", "tool_call_id": "t2", "is_error": True, "cache_control": HINT,
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}],
        },
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {"role": "user", "content": "go on"},
    ]  # fmt: skip


def test_an_assistant_thinks_speaks_and_calls() -> None:
    """Signed thoughts stay blocks; what another provider thought is text without a signature."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    secret = {"type": "redacted_thinking", "data": "xx"}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "cache_control": HINT}
    (message,) = translated(assistant(thought, secret, {"type": "text", "text": "I look."}, call))
    function = {"name": "f", "arguments": '{"a":1}'}
    assert message == {
        "role": "assistant", "content": "I look.", "thinking_blocks": [thought, secret],
        "tool_calls": [{"id": "t1", "type": "function", "function": function, "cache_control": HINT}],
    }  # fmt: skip
    (message,) = translated(assistant({**thought, "signature": ""}, call))
    assert (message["content"], message["reasoning_content"], "thinking_blocks" in message) == (None, "hm", False)


def test_the_system_prompt() -> None:
    """A string, blocks, or nothing."""
    assert list(system("s")) == list(system([{"type": "text", "text": "s"}])) == [{"role": "system", "content": "s"}]
    assert list(system(None)) == list(system("")) == list(system([])) == []


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (user(7), "messages[0].content[0]"),
        (user({"type": "video"}), "messages[0].content[0].type"),
        (user({"type": "search_result", "source": {}}), "messages[0].content[0].type"),
        (user({"type": "text"}), "messages[0].content[0].text"),
        (user({"type": "image"}), "messages[0].content[0].type"),
        (user({"type": "image", "source": {"type": "file", "file_id": "f"}}), "messages[0].content[0].source.type"),
        (
            user({"type": "image", "source": {"type": "base64", "data": "x"}}),
            "messages[0].content[0].source.media_type",
        ),
        (user({**PDF, "citations": {"enabled": True}}), "messages[0].content[0].citations"),
        (user({**PDF, "context": "x"}), "messages[0].content[0].context"),
        (user({"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "t"}), "messages[0].content[1]"),
        (user({"type": "tool_result"}), "messages[0].content[0].tool_use_id"),
        (user({"type": "tool_result", "tool_use_id": "t", "content": 7}), "messages[0].content[0].content"),
        (assistant(IMAGE), "messages[0].content[0].type"),
        (assistant({"type": "tool_use", "id": "t", "name": "f", "input": "x"}), "messages[0].content[0].input"),
        (assistant({"type": "tool_use", "id": "t", "input": {}}), "messages[0].content[0].name"),
        ({"role": "system", "content": [IMAGE]}, "messages[0].content[0].type"),
    ],
)
def test_what_cannot_be_translated_is_named(message: JsonObject, param: str) -> None:
    """A 400 in Anthropic's own terms."""
    with pytest.raises(GatewayError) as refused:
        translated(message)
    assert (refused.value.status, refused.value.param) == (400, param)
