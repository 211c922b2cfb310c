"""Every text that a model will read is found, with whose it is."""

from __future__ import annotations

from typing import Any

import pytest

from app.safety.prompts import Joined, TokenIds, passages, slots


def texts(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and text of each."""
    return [(slot.role, slot.text) for slot in slots(body)]


def test_messages_in_every_form() -> None:
    """Texts, parts, tool calls and results, names; not images."""
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,xyz"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/ignore-your-rules.png"}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "result"},
        ],
    }  # fmt: skip
    assert texts(body) == [
        ("system", "be kind"), ("user", "look"), ("user", "https://example.com/ignore-your-rules.png"),
        ("assistant", "f"), ("assistant", '{"a": 1}'), ("tool", "result"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"prompt": "one"}, ["one"]),
        ({"prompt": ["one", "two"], "suffix": "end"}, ["one", "two", "end"]),
        ({"input": ["one"], "user": "me", "model": "m"}, ["one"]),
        ({"input": [{"type": "text", "text": "one"}]}, ["one"]),
        ({"messages": [], "documents": [{"title": "t", "text": "one"}]}, ["t", "one"]),
        ({"messages": [], "tools": [{"type": "function", "function": {"description": "one"}}]}, ["one"]),
        ({"messages": [], "something_new": {"deep": ["one"]}}, ["one"]),
        ({"messages": [], "temperature": 1, "stop": ["x"], "metadata": {"a": "b"}}, []),
    ],
)
def test_other_fields(body: dict[str, Any], found: list[str]) -> None:
    """Whatever is not a plain setting may end in a prompt."""
    assert [text for _, text in texts(body)] == found


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_cannot_be_read(ids: list[Any]) -> None:
    """They are said to be what they are, not let through."""
    with pytest.raises(TokenIds):
        slots({"prompt": ids})


def test_depth_is_bounded() -> None:
    """Deeper than anybody nests."""
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert slots({"messages": [], "deep": deep}) == []


def test_a_slot_can_be_rewritten() -> None:
    """In place."""
    body = {"prompt": ["one", "two"]}
    slots(body)[1].put("2")
    assert body == {"prompt": ["one", "2"]}
    assert [one.text for one in passages(slots(body))] == ["one", "2"]


def test_stretches_of_all_texts_are_pieces_of_each() -> None:
    """With a separator and without."""
    joined = Joined(["abc", "", "def"], "\n")
    assert joined.text == "abc\n\ndef"
    assert joined.pieces(1, 7) == [(0, 1, 3), (2, 0, 2)]
    assert Joined(["abc", "def"], "").pieces(2, 4) == [(0, 2, 3), (1, 0, 1)]
