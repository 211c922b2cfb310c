"""JSON text as its strings read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.safety.escapes import Unescaped


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=20))
def test_what_json_writes_is_read_back(text: str) -> None:
    """With every character escaped, and its origin known."""
    raw = json.dumps(text)[1:-1]
    plain = Unescaped(raw, final=True)
    assert plain.text == Unescaped(json.dumps(text, ensure_ascii=False)[1:-1], final=True).text
    assert plain.at(len(plain.text)) == len(raw)


@pytest.mark.parametrize(
    ("raw", "text", "read"),
    [
        ("b\\u006f", "bo", 7), ("b\\u00", "b", 1), ("b\\", "b", 1), ("\\ud83d", "", 0), ("\\ud83d\\u", "", 0),
        ("\\ud83d\\ude00!", "\U0001f600!", 13), ("\\n\\x", "\n\\x", 4), ("\\u00zz", "\\u00zz", 6),
        ("a\\\\b", "a\\b", 4),
    ],
)  # fmt: skip
def test_an_escape_that_is_not_complete_waits(raw: str, text: str, read: int) -> None:
    """Until its end comes; what is no escape stands for itself."""
    plain = Unescaped(raw, final=False)
    assert (plain.text, plain.at(len(plain.text))) == (text, read)


def test_at_the_end_nothing_waits() -> None:
    """What is incomplete then stays as it is."""
    assert Unescaped("b\\u00", final=True).text == "b\\u00"


def test_a_stretch_has_its_origin() -> None:
    """From the first escape to the end of the last."""
    plain = Unescaped('{"a": "b\\u006fb"}', final=True)
    start = plain.text.index("bob")
    assert (plain.at(start), plain.until(start + 3)) == (7, 15)


def test_halves_of_pairs_are_no_characters() -> None:
    """Nobody can look at them: JSON that names one reads as a replacement character."""
    for half in ("\\ud83d", "\\udc00", "\\udc00\\ud83d"):
        text = Unescaped(half, final=True).text
        assert set(text) == {"\ufffd"}
