"""Rules and personal data together."""

from __future__ import annotations

from app.safety.spans import Scanner
from app.safety.terms import Lexicon, parse

BOTH = Scanner(Lexicon([parse("internal codename")]), pii=True)


def test_both_look_at_the_same_text() -> None:
    """What each finds."""
    found = BOTH.find("the internal codename of bob@example.com")
    assert [(match.category, match.detector) for match in found] == [("blocklist", "rules"), ("pii", "pii")]


def test_each_may_be_alone() -> None:
    """Or nobody."""
    text = "the internal codename of bob@example.com"
    assert [match.category for match in Scanner(None, pii=True).find(text)] == ["pii"]
    assert [match.category for match in Scanner(Lexicon([parse("codename")]), pii=False).find(text)] == ["blocklist"]
    assert Scanner(None, pii=False).find(text) == []


def test_the_longer_tail_is_held() -> None:
    """Of the two; and none when the text is final."""
    assert BOTH.step("say internal co", "", final=False) == ([], 4)
    assert BOTH.step("say hello", "", final=False) == ([], 4)
    assert BOTH.step("say hello", "", final=True) == ([], 9)
    assert Scanner(None, pii=False).step("say hello", "", final=False) == ([], 9)


def test_places_are_those_of_the_text_as_it_came() -> None:
    """Also where invisible characters were taken away first."""
    raw = "x\u200b bo\u0301b\u200b@example.com y"
    clean, (match,) = BOTH.find_raw("x\u200b b\u200bob@example.com y")
    assert clean.raw[clean.at(match.start) : clean.until(match.end)] == "b\u200bob@example.com"
    assert BOTH.find_raw(raw)[1] != []
