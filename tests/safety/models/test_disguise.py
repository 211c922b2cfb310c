"""Disguised text as a model should read it."""

from __future__ import annotations

import time

import pytest

from app.safety.models.disguise import undisguised


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("h\u200bo\u200bw do I", "how do I"),
        ("\uff4b\uff49\uff4c\uff4c him", "kill him"),
        ("k\u0456ll h\u0456m n\u043ew", "kill him now"),
        ("H0w to k1ll s0m30n3", "How to kill someone"),
        ("k i l l  him", "kill him"),
        ("k.i.l.l him", "kill him"),
        ("please k-i-l-l him", "please kill him"),
        ("I h@te y0u", "I hate you"),
    ],
)
def test_a_disguise_is_taken_off(text: str, plain: str) -> None:
    """Invisible characters, other widths, look-alikes, digits, spread letters."""
    assert undisguised(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a Python process?",
        "Python 3.11 and 2024",
        "Привет, как дела сегодня?",
        "日本語の文章です。",
        "plan B or plan C",
        "I am 42 years old, and so is he.",
        "",
    ],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    """The very same text: it is scored once."""
    assert undisguised(text) == text


@pytest.mark.parametrize(
    "text", ["a " * 300_000, "a1" * 300_000, "\u0430" * 300_000, "a\u0301" * 200_000, "-" * 500_000]
)
def test_time_is_linear(text: str) -> None:
    """Whatever the text: half a megabyte within seconds on a busy machine."""
    began = time.process_time()
    undisguised(text)
    assert time.process_time() - began < 5
