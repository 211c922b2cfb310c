"""The texts of an event, and writing over them."""

from __future__ import annotations

from typing import Any

from app.safety.texts import put, texts

CHUNK: dict[str, Any] = {
    "choices": [
        {"index": 1, "delta": {"role": "assistant", "content": "hi", "tool_calls": [
            {"index": 2, "id": "x", "function": {"name": "f", "arguments": "{}"}}
        ]}},
        {"index": 0, "text": "there", "finish_reason": "stop"},
    ]
}  # fmt: skip


def test_every_text_has_its_path() -> None:
    """The choice first."""
    assert texts(CHUNK) == [
        ((1, "content"), "hi"),
        ((1, "tool_calls", 2, "function", "name"), "f"),
        ((1, "tool_calls", 2, "function", "arguments"), "{}"),
        ((0, "text"), "there"),
    ]
    assert texts({"usage": {}}) == []


def test_a_number_that_is_none_is_a_place() -> None:
    """Whatever an upstream puts there: paths are numbers and names."""
    odds: list[Any] = [[], {}, "7", None, 1.0]
    calls = [{"index": odd, "x": "a"} for odd in odds]
    found = texts({"choices": [{"delta": {"calls": calls}}]})
    assert [path for path, _ in found if path[-1] == "x"] == [(0, "calls", place, "x") for place in range(5)]


def test_each_can_be_written_over() -> None:
    """By its path; what is not there stays away."""
    choice = {"index": 0, "message": {"content": "a", "parts": ["b", "c"], "tool_calls": [{"index": 5, "x": "d"}]}}
    for path in ((0, "content"), (0, "parts", 1), (0, "tool_calls", 5, "x")):
        assert put(choice, path, "!")
    assert choice["message"] == {"content": "!", "parts": ["b", "!"], "tool_calls": [{"index": 5, "x": "!"}]}
    assert not put(choice, (0, "nothing"), "!")
    assert not put(choice, (0, "tool_calls", 9, "x"), "!")
    text = {"index": 0, "text": "a"}
    assert put(text, (0, "text"), "b")
    assert text["text"] == "b"
