"""Texts in pieces: nothing lost, nothing too large, cut where a reader would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import JsonObject
from app.pipeline.pieces import cut, framed, numbered, transcript, whole


@given(st.text(max_size=300), st.integers(4, 64))
def test_pieces_make_the_text(text: str, size: int) -> None:
    """All of it, in order, each within its bytes."""
    parts = list(cut(text, size))
    assert "".join(parts) == text
    assert all(0 < len(part.encode()) <= size for part in parts)


@given(st.text(max_size=20), st.integers(0, 3))
def test_even_the_smallest_size_gets_on(text: str, size: int) -> None:
    """A character at a time, though it has more bytes."""
    assert "".join(cut(text, size)) == text


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aaa aaa.\n\nbbb\nccc ddd", "aaa aaa.\n\n"),
        ("aaaa aaa\nbbb ccc ddd", "aaaa aaa\n"),
        ("aaaa aa. bbb ccc ddd", "aaaa aa. "),
        ("aaaa aaa bbb ccc ddd", "aaaa aaa bbb "),
        ("aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaa"),
        ("a\n\nbbbbbbbbbbbbbbbbbbbbb", "a\n\nbbbbbbbbbbb"),
    ],
)
def test_a_cut_is_where_a_reader_would_make_it(text: str, first: str) -> None:
    """Between paragraphs, lines, sentences, words, in that order; in the second half of the piece."""
    assert next(cut(text, 14)) == first


@given(st.text(alphabet="ab \n", max_size=60))
def test_a_text_is_taken_apart_and_put_together(text: str) -> None:
    """But for empty paragraphs at its ends."""
    assert whole(*framed(text)).replace("\n", "") == text.replace("\n", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Translate:\n\nlong text", ("Translate:", "long text", "")),
        ("Translate:\n\nlong\n\ntext\n\nInto French.", ("Translate:", "long\n\ntext", "Into French.")),
        ("x" * 700 + "\n\nSummarise that.", ("", "x" * 700, "Summarise that.")),
        ("no paragraphs", ("", "no paragraphs", "")),
    ],
)
def test_the_task_stands_at_an_end(text: str, expected: tuple[str, str, str]) -> None:
    """A short first or last paragraph goes with every piece."""
    assert framed(text) == expected


def test_a_transcript() -> None:
    """Who said what; tool calls and their results; what is no text by its kind."""
    call = {"id": "a", "function": {"name": "f", "arguments": '{"x": "ü"}'}}
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}, "plain", 5]
    messages: list[JsonObject] = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42"},
    ]
    text = transcript(messages)
    assert text.startswith("user: see [image_url] plain [?]\n\nassistant: [{")
    assert '"arguments": "{\\"x\\": \\"ü\\"}"' in text
    assert text.endswith("\n\ntool: 42")


def test_results_are_numbered() -> None:
    """From one."""
    assert numbered(["a", "b"]) == "[1] a\n\n[2] b"
