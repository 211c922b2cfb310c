"""Runs of digits: cards, phones, numbers of people, and everything that is none."""

from __future__ import annotations

import pytest

from app.safety.numbers import find, groups, hold, is_chinese_id


def labels(text: str, before: str = "") -> dict[str, str]:
    """What is found, by its text."""
    return {text[start:end]: label for start, end, label in find(text, before, final=True)}


@pytest.mark.parametrize(
    ("number", "label"),
    [
        ("4111 1111 1111 1111", "CARD"), ("4111111111111111", "CARD"), ("5500-0000-0000-0004", "CARD"),
        ("3782 822463 10005", "CARD"), ("4111.1111.1111.1111", "CARD"), ("536-90-4399", "NATIONAL_ID"),
        ("+49 30 901820", "PHONE"), ("+44 (0)20 7946 0958", "PHONE"), ("(555) 234-5678", "PHONE"),
        ("555-234-5678", "PHONE"), ("1-555-234-5678", "PHONE"), ("0049 30 901820", "PHONE"),
        ("06 12 34 56 78", "PHONE"),
        ("0612345678", "PHONE"), ("030/901820", "PHONE"), ("03-1234-5678", "PHONE"), ("090-1234-5678", "PHONE"),
        ("13812345678", "PHONE"), ("138 1234 5678", "PHONE"), ("612 345 678", "PHONE"), ("347 1234567", "PHONE"),
        ("(11) 91234-5678", "PHONE"), ("110105199003012124", "NATIONAL_ID"), ("255081416802538", "NATIONAL_ID"),
        ("390.533.447-05", "NATIONAL_ID"), ("36 574 261 809", "NATIONAL_ID"),
    ],
)  # fmt: skip
def test_numbers_that_mean_somebody(number: str, label: str) -> None:
    """In eight languages' countries; behind a house number and before a sentence's end too."""
    assert labels(number)[number] == label
    assert labels(f"at 12 {number}, thanks")[number] == label


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112", "2024", "2024-01-02 12:33:44", "10.0.19041.1", "192.168.100.200", "3.14159265358979",
        "1,234,567,890", "1 2 3 4 5", "123456789012345678901234567890", "000-12-3456", "order 12345678",
    ],
)  # fmt: skip
def test_numbers_that_mean_nobody(text: str) -> None:
    """A wrong check digit, dates, versions, addresses, amounts, numbers too long to be anything."""
    assert labels(text) == {}


def test_a_weak_checksum_needs_a_word() -> None:
    """Nine digits are a tax number only if somebody says so, here or just before."""
    assert labels("123456789") == {}
    assert labels("o meu NIF \u00e9 123456789") == {"123456789": "NATIONAL_ID"}
    assert labels("123456789", "o meu nif \u00e9 ") == {"123456789": "NATIONAL_ID"}


def test_a_group_at_the_end_may_go_on() -> None:
    """It is not told before it is complete; and the rest of one that began before is none."""
    assert find("4111111111111111", "", final=False) == []
    assert find("4111111111111111 ", "", final=False) == [(0, 16, "CARD")]
    assert labels("4111111111111111", "9") == {}


@pytest.mark.parametrize(
    ("text", "before", "held"),
    [
        ("call 555", "", "555"), ("call 555-", "", "555-"), ("call (", "", "("), ("call +49 30", "", "+49 30"),
        ("a 1 2 3", "", "1 2 3"), ("call 555 x", "", ""), ("a   5", "", "5"), ("1" * 20, "", ""), ("11", "1", ""),
    ],
)  # fmt: skip
def test_the_tail_that_may_become_a_number_is_held(text: str, before: str, held: str) -> None:
    """At most nineteen digits of it."""
    assert text[hold(text, before) :] == held


def test_groups_are_maximal() -> None:
    """ASCII digits only: clean text has no others."""
    assert groups("a12 3") == [(1, 3), (4, 5)]
    assert groups("") == []


def test_a_chinese_number_is_checked_by_hand() -> None:
    """The library that knows all the others raises on counties that it does not know."""
    assert is_chinese_id("11010519491231002X")
    assert not is_chinese_id("110105194912310021")
    assert not is_chinese_id("110105199013012124")
