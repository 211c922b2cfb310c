"""Terms are found however they are dressed up, and not where they only seem to be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.safety.normal import Clean, key
from app.safety.terms import MOST_LETTERS, Lexicon, Term, TermError, parse

LEXICON = Lexicon([
    parse(term)
    for term in ("internal codename", "bomb", "kill*", "caf\u00e9", "\u7206\u5f3e", "as is", "rapist",
                 "911", "C++", "\\bassassin\\b", "\u00a7")
])  # fmt: skip


def found(text: str, lexicon: Lexicon = LEXICON) -> list[str]:
    """What is found in a text, as it stands there."""
    clean = Clean(text, exact=True)
    matches = lexicon.find(clean.text, key(clean.text))
    return [text[clean.at(match.start) : clean.until(match.end)] for match in matches]


@pytest.mark.parametrize(
    "text",
    [
        "internal codename", "INTERNAL CODENAME", "internal  codename", "internal\ncodename", "internal-codename",
        "internal_codename", "internalcodename", "intern4l c0dename", "i n t e r n a l  c o d e n a m e",
        "int\u200bernal codename", "\u0456nternal codename", "**internal** codename", "loreminternal codenamesum",
        "bomb", "b0mb", "b.o.m.b", "b o m b", "bo.mb", "**b**omb", "b\no\nm\nb", "(bomb)", "bo\u0301mb", "B\u2009O M B",
        "kill", "killing", "k1ll3r", "caf\u00e9", "cafe\u0301", "CAF\u00c9", "\u3053\u306e\u7206\u5f3e\u306f",
        "\u7206 \u5f3e", "as is", "911", "9!!", "c++", "an assassin!", "a\u00a7b",
    ],
)  # fmt: skip
def test_dressed_up_terms_are_found(text: str) -> None:
    """Case, spacing, leetspeak, look-alikes, invisible characters, markup, spelling out."""
    assert len(found(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "bombs", "therapist", "the", "skill", "cafe", "oasis", "was issued", "611", "gii", "assassination",
        "assassins", "b o mb", "bo mb", "c--", "internal and codename", "b    o    m    b", "", " ", "\u200b",
    ],
)  # fmt: skip
def test_what_only_looks_like_one_is_not_found(text: str) -> None:
    """Short terms inside words, letters without their accents, other digits, words between."""
    assert found(text) == []


def test_the_edges_of_a_term_can_be_set() -> None:
    """A star opens an end, a word boundary closes it; without either, length decides."""
    both = parse("*ass*"), parse("\\bterrorist\\b")
    assert [(term.left, term.right) for term in both] == [(False, False), (True, True)]
    assert [(term.left, term.right) for term in (parse("ass"), parse("terrorist"))] == [(True, True), (False, False)]
    assert found("class", Lexicon([both[0]])) == ["ass"]
    assert found("terrorists", Lexicon([both[1]])) == []


@pytest.mark.parametrize("term", ["", "---", " . ", "\u200b", "a" * (MOST_LETTERS + 1)])
def test_what_cannot_be_looked_for_is_refused(term: str) -> None:
    """Nothing to find, or too much to hold."""
    with pytest.raises(TermError):
        parse(term)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("the bo", "bo"), ("the b o", "b o"), ("the b o ", "b o "), ("say internal ", "internal "), ("caf", "caf"),
        ("bomb", "bomb"), ("bomb ", ""), ("bombs", ""), ("hello ", ""), ("therap", ""), ("the r", "r"),
        ("x bo.", "bo."),
        ("int  ern", ""),
    ],
)  # fmt: skip
def test_the_tail_that_may_become_a_term_is_held(text: str, held: str) -> None:
    """And nothing else."""
    assert text[LEXICON.hold(text, key(text), "", len(text)) :] == held


def test_a_word_that_goes_on_from_before_is_no_beginning() -> None:
    """What stands in front of the window counts."""
    assert LEXICON.hold("bo", "bo", "x", 2) == 2
    assert LEXICON.hold("bo", "bo", " ", 2) == 0


@settings(max_examples=60)
@given(st.text(st.sampled_from("bomk il.3-1"), min_size=1, max_size=12), st.data())
def test_no_term_begins_before_what_is_held(text: str, data: st.DataObject) -> None:
    """Whatever follows, a term that ends in what follows begins in what was held."""
    rest = data.draw(st.text(st.sampled_from("bomkil .3"), max_size=8))
    hold = LEXICON.hold(text, key(text), "", len(text))
    for match in LEXICON.find(text + rest, key(text + rest)):
        assert match.end < len(text) or match.start >= hold


def test_terms_carry_their_category() -> None:
    """For lists that are about something else than an operator's own words."""
    term: Term = parse("ignore previous instructions", "jailbreak", 4)
    (match,) = Lexicon([term]).find("ignore previous instructions", key("ignore previous instructions"))
    assert (match.category, match.severity) == ("jailbreak", 4)
