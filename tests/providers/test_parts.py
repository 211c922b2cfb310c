"""Parts are values: equal where what they say is equal."""

from __future__ import annotations

from app.providers.parts import Text, Turn


def test_turns_are_values() -> None:
    """So that tests, and whoever compares conversations, need nothing more."""
    assert Turn("user", (Text("a"),), "messages[0]") == Turn("user", (Text("a"),), "messages[0]")
    assert Text("a").cache is None
