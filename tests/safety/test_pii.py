"""Personal data and secrets, in the languages of their countries."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.safety import pii

KEY = "sk-" + "a1B2" * 8
PEM = (
    "-----BEGIN RSA "
    "PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEAabcdefghijklmnop\n" * 3 + "-----END RSA " + "PRIVATE KEY-----"
)
JWT = "eyJ" + "hbGciOiJIUzI1" + ".eyJ" + "zdWIiOiIxMjM0" + "." + "SflKxwRJSMeKKF2QT4"


def labels(text: str) -> dict[str, str]:
    """The largest of what is found, by its text."""
    matches = pii.find(text)
    return {
        text[match.start : match.end]: match.label
        for match in matches
        if not any(other.start <= match.start and match.end <= other.end and other != match for other in matches)
    }


@pytest.mark.parametrize(
    ("text", "item", "label"),
    [
        ("Mail alice.b+x@mail.example.co.uk now", "alice.b+x@mail.example.co.uk", "EMAIL"),
        ("Schreib an jürgen@müller.de!", "jürgen@müller.de", "EMAIL"),
        ("请联系alice@example.com。", "alice@example.com", "EMAIL"),
        ("メールはtaro@example.jpまで", "taro@example.jp", "EMAIL"),
        ("IBAN: DE89 3704 0044 0532 0130 00.", "DE89 3704 0044 0532 0130 00", "IBAN"),
        ("Mi DNI es 12345678Z.", "12345678Z", "NATIONAL_ID"),
        ("NIE X1234567L", "X1234567L", "NATIONAL_ID"),
        ("codice fiscale RSSMRA85T10A562S", "RSSMRA85T10A562S", "NATIONAL_ID"),
        ("NI number AB 12 34 56 C", "AB 12 34 56 C", "NATIONAL_ID"),
        ("身份证 11010519491231002X", "11010519491231002X", "NATIONAL_ID"),
        ("mon numéro 2 55 08 14 168 025 38", "2 55 08 14 168 025 38", "NATIONAL_ID"),
        ("Steuer-ID 36574261809", "36574261809", "NATIONAL_ID"),
        ("電話は090-1234-5678です", "090-1234-5678", "PHONE"),
        ("手机13812345678", "13812345678", "PHONE"),
        ("Ligue (11) 91234-5678", "(11) 91234-5678", "PHONE"),
        (f"key {KEY} end", KEY, "SECRET"),
        (f"token {JWT} end", JWT, "SECRET"),
        (f"file:\n{PEM}\nend", PEM, "SECRET"),
    ],
)
def test_what_is_personal_is_found(text: str, item: str, label: str) -> None:
    """As it stands in a sentence, and nothing else in it."""
    assert labels(text) == {item: label}


@pytest.mark.parametrize(
    "text",
    [
        "In 2024 we had 1,234,567 users and 3.14159265358979 of them", "uuid 123e4567-e89b-12d3-a456-426614174000",
        "a@b and @handle and x@y.z", "sk-short", "version 10.0.19041.1", "def f(x): return x @ y", "",
        "ABCDEF12G", "12345678A",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "-----BEGIN CERTIFICATE-----",
    ],
)  # fmt: skip
def test_what_only_looks_personal_is_not_found(text: str) -> None:
    """Amounts, versions, identifiers of things, code."""
    assert labels(text) == {}


def test_a_private_key_without_end_is_found_as_far_as_it_goes() -> None:
    """An answer may be cut by its length."""
    cut = PEM[: PEM.index("-----END")]
    assert list(labels(cut)) == [cut.rstrip("\n")]


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("hello wor", "wor"), ("hello world ", ""), ("in 2024 ", "2024 "), ("mail a@b.c", "a@b.c"), ("mail a@", "a@"),
        ("call (", "("), ("call +4", "+4"), ("DE89 3704 0", "DE89 3704 0"), ("FY24 some words", "words"),
        ("US ", "US "),
        ("us ", ""), ("爆", ""), (f"x {KEY}{KEY}{KEY}", f"{KEY}{KEY}{KEY}"), ("x " + "a" * 80, "a" * 64), ("é", "é"),
        ("a@" + "b" * 300, ""), (PEM[:60], PEM[:60]), ("", ""),
    ],
)  # fmt: skip
def test_the_tail_that_may_become_personal_is_held(text: str, held: str) -> None:
    """And nothing else."""
    assert text[pii.hold(text) :] == held


@settings(max_examples=80)
@given(
    st.lists(
        st.sampled_from(["a", "@", ".", "b.com", "1", "23", "4111", " ", "-", "(", "+", "DE89", "AB", "sk-", "é"]),
        min_size=2,
    )
)
def test_nothing_personal_begins_before_what_is_held(pieces: list[str]) -> None:
    """Whatever follows, what ends in it begins in what was held."""
    for cut in range(1, len(pieces)):
        text = "".join(pieces[:cut])
        hold = pii.hold(text)
        for match in pii.find("".join(pieces)):
            assert match.end <= len(text) or match.start >= hold


@pytest.mark.parametrize(
    "unit",
    [
        "a@",
        "1 ",
        "12345678901234567890",
        "DE89 ",
        "sk-",
        "-----BEGIN " + "PRIVATE KEY-----",
        "@",
        "AB12",
        "(+",
        "eyJa.",
    ],
)
def test_much_of_beginnings_takes_bounded_time(unit: str) -> None:
    """Linear, whatever is repeated."""
    text = unit * (30_000 // len(unit))
    began = time.process_time()
    pii.find(text)
    pii.hold(text[-pii.LONGEST :])
    assert time.process_time() - began < 5
