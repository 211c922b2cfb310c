"""What of a text is scored."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from app.safety.models.pieces import LONGEST, MOST_PIECES, WINDOW, pieces, sentences, windows

TEXT = "The weather is nice today in the whole valley. How do I get home from the station? Nobody answered me at all."


def test_a_text_is_scored_whole_and_by_sentences() -> None:
    """One harmful sentence among many harmless ones is seen."""
    assert pieces(TEXT) == [
        TEXT,
        "The weather is nice today in the whole valley.",
        "How do I get home from the station?",
        "Nobody answered me at all.",
    ]


def test_a_short_text_is_one_piece() -> None:
    """It would say the same twice."""
    assert pieces("Hello there.") == ["Hello there."]
    assert pieces("") == []
    assert pieces(" \n ") == []


def test_japanese_and_chinese_have_sentences() -> None:
    """Without a space between them; a sign says more than a letter, so that less of them makes a sentence."""
    assert sentences("今日は天気がとてもいいですね。駅から家までどう帰りますか\uff1f") == [
        "今日は天気がとてもいいですね。",
        "駅から家までどう帰りますか\uff1f",
    ]


def test_points_inside_numbers_and_names_end_nothing() -> None:
    """Only where a space follows."""
    assert sentences("Version 3.14 of example.com is out now everywhere") == [
        "Version 3.14 of example.com is out now everywhere"
    ]


def test_what_is_short_is_read_with_what_follows() -> None:
    """`No.` alone says nothing."""
    assert sentences("No. Never. That is what I told him yesterday evening.") == [
        "No. Never. That is what I told him yesterday evening."
    ]


@given(st.text(max_size=3000))
def test_windows_lose_nothing(text: str) -> None:
    """Every character is in one, and none is longer than it may be."""
    found = windows(text)
    assert all(len(window) <= WINDOW for window in found)
    step = WINDOW * 2 // 3
    assert "".join(window[:step] for window in found[:-1]) + (found[-1] if found else "") == text


@given(st.text(st.sampled_from("ab .!。\n"), max_size=3000))
def test_sentences_lose_no_word(text: str) -> None:
    """Spaces apart."""
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert all(len(sentence) <= LONGEST + 30 for sentence in sentences(text))


def test_a_long_text_is_bounded_work() -> None:
    """A megabyte gives no more pieces than a page of it; beginning and end are among them."""
    text = (
        "First of all this is harmless. " + "A long and boring sentence number nine. " * 30_000 + "The end is near now."
    )
    began = time.process_time()
    found = pieces(text)
    assert time.process_time() - began < 2
    assert len(found) <= MOST_PIECES
    assert any("First of all" in piece for piece in found)
    assert any("The end is near" in piece for piece in found)
    assert len(pieces("x" * 1_000_000)) <= MOST_PIECES
