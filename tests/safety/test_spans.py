"""Rules and personal data together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.safety.spans import Scanner
from app.safety.terms import Lexicon, parse

BOTH = Scanner(Lexicon([parse("internal codename")]), pii=True)


PIECES = (
    "bomb", "bo", "mb", "b.o.m.b", "internal", "codename", "\u6975", "\u79d8", "a@b", ".example", "4111 1111 ",
    "1111 1111", "AKIA", "IOSFODNN7EXAMPLE", "eyJ", "sk-", "x" * 30, "-----BEGIN ", "PRIVATE KEY-----", " ", "\u0301",
    "\u200b", "0xb",
)  # fmt: skip
SECRETS = (
    "alice@example.com", f"sk-{'a' * 24}", f"ghp_{'a' * 36}", f"AKIA{'IOSFODNNEXAMPLEA'}", f"glpat-{'a' * 20}",
    "xoxb-aaaaaaaaaaaa", f"AIza{'a' * 35}", f"hf_{'a' * 30}", f"eyJ{'a' * 9}.eyJ{'a' * 9}.{'a' * 9}",
    f"-----BEGIN {'PRIVATE'} KEY-----", "GB82WEST12345698765432", "4111 1111 1111 1111", f"sk_live_{'a' * 16}",
)  # fmt: skip


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


TERMS = ("internal codename", "bomb", r"\bkill\b", "*rape*", "x1", "\u6975\u79d8", "ab\u6975")
QUIET = (*"abekx. \n", "kill", " kill ", "rap", "e", "internal ", "code", "name", "bom", "b. ", "DE", " AB ", "N ")
"""Nothing of this is loud, so that a glance is enough for most of what is made of it."""
FILLING = ["\u4e00" * (200 + number) for number in range(50)]
"""So many letters that a glance at a piece is not to be had; none of them is in the texts."""
FEW, MANY = (Lexicon(map(parse, terms)) for terms in (TERMS, (*TERMS, *FILLING)))


@pytest.mark.parametrize("pii", [True, False])
@given(
    st.lists(
        st.sampled_from((*PIECES, *"abeklorx1-_. ", "kill", "rap", "codename ", "DE", " AB ", "N", "\n")), max_size=8
    ),
    st.sampled_from(("", "x", " ", ".")),
)
def test_a_glance_at_a_piece_tells_what_a_look_tells(pii: bool, pieces: list[str], before: str) -> None:  # noqa: FBT001
    """Where the tail begins, too."""
    text = "".join(pieces)
    quick, slow = (Scanner(lexicon, pii=pii) for lexicon in (FEW, MANY))
    assert quick.step(text, before, final=False) == slow.step(text, before, final=False)


def test_places_are_those_of_the_text_as_it_came() -> None:
    """Also where invisible characters were taken away first."""
    raw = "x\u200b bo\u0301b\u200b@example.com y"
    clean, (match,) = BOTH.find_raw("x\u200b b\u200bob@example.com y")
    assert clean.raw[clean.at(match.start) : clean.until(match.end)] == "b\u200bob@example.com"
    assert BOTH.find_raw(raw)[1] != []


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.lists(st.text(max_size=12), max_size=3))
def test_what_is_silent_has_nothing_in_it(pieces: list[str], texts: list[str]) -> None:
    """Neither as one text nor in parts, with a line break between them or without."""
    scanner = Scanner(Lexicon([parse("bomb"), parse("internal codename"), parse("\u6975\u79d8")]), pii=True)
    parts = [*pieces, *texts]
    if scanner.silent("".join(parts)):
        for text in ("".join(parts), "\n".join(parts), *parts):
            assert scanner.find_raw(text)[1] == []


@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_forbidden_is_never_silent(secret: str) -> None:
    """One of each kind that is found without many digits."""
    scanner = Scanner(None, pii=True)
    assert scanner.find_raw(f"so {secret} it is")[1] != []
    assert not scanner.silent(f"so {secret} it is")
