"""What hides a word is taken away, and every clean character knows where it came from."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.safety.normal import Clean, kept, key, spaced


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain text", "plain text"),
        ("b\u200bo\u200cm\u2060b", "bomb"),
        ("bo\u0301mb", "b\u00f3mb"),
        ("\uff22\uff4f\uff4d\uff42", "Bomb"),
        ("\uff76\uff9e\uff7d", "\u30ac\u30b9"),
        ("\ufb01ne \u00bd", "fine 1\u20442"),
        ("\u200b\u200b", ""),
        ("x\u0335\u0336y", "xy"),
        ("\u1112\u1161\u11ab", "\ud55c"),
    ],
)
def test_what_hides_is_taken_away(raw: str, clean: str) -> None:
    """Invisible characters, stray marks, full and half width, decomposed letters; both ways of working it out agree."""
    assert Clean(raw).text == Clean(raw, exact=True).text == clean


@pytest.mark.parametrize("word", ["bomb", "BOMB", "b0mb", "8omb", "b\u00f6mb", "\u0432omb", "b-o.m_b", "b\u043emb"])
def test_dressings_of_a_word_have_one_key(word: str) -> None:
    """Capitals, leetspeak, accents, look-alikes, separators."""
    assert key(Clean(word).text) == "bomb"


def test_letters_of_other_scripts_stay_apart() -> None:
    """Japanese letters with and without their mark are different letters."""
    assert key("\u304c") != key("\u304b")


@given(st.text(max_size=60))
def test_every_character_has_its_origin(raw: str) -> None:
    """Stretches of the clean text map to stretches of the raw text that clean to the same, in order, without gaps."""
    clean = Clean(raw, exact=True)
    places = [clean.at(index) for index in range(len(clean.text) + 1)]
    assert places == sorted(places)
    assert places[-1] == len(raw)
    for index in range(len(clean.text)):
        end = clean.until(index + 1)
        assert places[index] < end <= len(raw)
        assert clean.text[index] in Clean(raw[places[index] : end], exact=True).text


@given(st.text(st.sampled_from("ab1\u200b\u0301\u0308\u3042\uff9e\u304b\uff76\ufb01\u00e9 .\u1112\u1161"), max_size=30))
def test_fast_and_exact_forms_agree_on_what_matters(raw: str) -> None:
    """As far as they differ, the exact one is looked at again before anything is said about places."""
    fast, exact = Clean(raw), Clean(raw, exact=True)
    assert fast.text == exact.text or not fast.exact
    assert unicodedata.is_normalized("NFKC", fast.text) or not fast.exact or "\uff9e" in raw or "\u1161" in raw


@given(st.text(max_size=40))
def test_kept_places_are_those_of_the_key(raw: str) -> None:
    """One place for each character of the key form."""
    clean = Clean(raw, exact=True).text
    assert len(kept(clean)) == len(key(clean))


@pytest.mark.parametrize(
    ("char", "expected"),
    [("a", True), ("7", True), ("\u00e9", True), ("_", False), ("\u7206", False), ("\uac00", False)],
)
def test_words_end_where_scripts_have_spaces(char: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Chinese, Japanese and Korean words have no edges that could be told."""
    assert spaced(char) is expected


@pytest.mark.parametrize("unit", ["\u200b", "a\u0301", "a" + "\u0316\u0301" * 40, "\u0e33", "\uff76\uff9e", "\ufdfa"])
def test_much_of_anything_takes_bounded_time(unit: str) -> None:
    """Python's own NFKC takes quadratic time in the marks on one letter."""
    raw = unit * (100_000 // len(unit))
    began = time.process_time()
    Clean(raw)
    assert time.process_time() - began < 5
