"""The table of look-alikes holds single letters, each once."""

from __future__ import annotations

import unicodedata

from app.safety.lookalikes import LATIN, LOOKALIKES


def test_each_looks_like_one_latin_letter() -> None:
    """No character stands for two, and none is Latin by itself."""
    characters = "".join(LOOKALIKES.values())
    assert len(characters) == len(set(characters)) == len(LATIN)
    assert not any(unicodedata.normalize("NFKC", char).isascii() for char in characters)
    assert set(LATIN.values()) <= set("abcdefghijklmnopqrstuvwxyz")


def test_the_usual_suspects_are_in_it() -> None:
    """Cyrillic and Greek."""
    assert [LATIN[char] for char in "\u0430\u0435\u043e\u0440\u0441\u0445\u0391\u03bf"] == list("aeopcxao")
