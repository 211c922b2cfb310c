"""Input items as chat messages, and every mistake named."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from app.api.responses.items import SEALED, messages
from app.errors import GatewayError

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
SIGNED = {"google": {"thought_signature": "x"}}
BLOCKS = [{"type": "thinking", "thinking": "hm", "signature": "s"}]


def test_texts_and_parts() -> None:
    """A string, messages with and without their type, images, files, what was refused."""
    assert messages("hi") == [{"role": "user", "content": "hi"}]
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "https://e.org/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "auto"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"},
    ]
    refusal = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    user, said = messages([{"role": "user", "content": parts}, refusal])
    assert user["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://e.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
    ]
    assert said == {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}


def test_what_an_assistant_did_in_a_row_is_one_message() -> None:
    """Thought, said, called twice; then the results."""
    sealed = SEALED + base64.b64encode(orjson.dumps(BLOCKS)).decode()
    found = messages(
        [
            {"role": "developer", "content": "d"},
            {"type": "reasoning", "summary": [], "encrypted_content": sealed},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {**CALL, "extra_content": SIGNED},
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "18"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "19"}]},
            {"type": "message", "role": "assistant", "content": "a"},
            {"type": "message", "role": "assistant", "content": "b"},
        ]
    )
    function = {"name": "f", "arguments": "{}"}
    assert found == [
        {"role": "developer", "content": "d"},
        {
            "role": "assistant", "content": "I look.", "thinking_blocks": BLOCKS,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": function, "extra_content": SIGNED},
                {"id": "c2", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "18"},
        {"role": "tool", "tool_call_id": "c2", "content": "19"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]  # fmt: skip


@pytest.mark.parametrize("sealed", [None, "gAAAA-of-openais", SEALED + "!!", SEALED + "QQ=="])
def test_thoughts_that_nobody_here_can_read_are_left_out(sealed: str | None) -> None:
    """They belong to another provider."""
    item: dict[str, Any] = {"type": "reasoning", "summary": [], "encrypted_content": sealed}
    assert messages([{"role": "user", "content": "x"}, item]) == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input"), ([], "input"), (7, "input"), ([7], "input[0]"), ([{"type": "item_reference"}], "input[0].type"),
        ([{}], "input[0].type"), ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"role": "user", "content": 7}], "input[0].content"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "input[0].content[0]"),
        ([{**CALL, "arguments": {}}], "input[0].arguments"), ([{**CALL, "call_id": None}], "input[0].call_id"),
        ([{"type": "function_call_output", "output": "x"}], "input[0].call_id"),
        ([{"type": "function_call_output", "call_id": "c"}], "input[0].output"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_named(given: Any, param: str) -> None:
    """A 400 each."""
    with pytest.raises(GatewayError) as refused:
        messages(given)
    assert (refused.value.status, refused.value.param) == (400, param)
