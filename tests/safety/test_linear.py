"""Patterns, sieves and automata find what they should, in linear time."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from app.safety.linear import FOUND, Automaton, Pattern, Sieve, Tails


def test_a_pattern_tells_places_in_characters() -> None:
    """Not in bytes."""
    assert Pattern("[0-9]+").first("\u7206\u7206 12") == (3, 5)
    assert list(Pattern("[0-9]+").all("\u72061 22")) == [(1, 2), (3, 5)]
    assert Pattern("x").first("y") is None


def test_a_sieve_tells_which() -> None:
    """All that are somewhere in the text."""
    sieve = Sieve(["a", "b+c", "[0-9]"])
    assert sorted(sieve.holds("xx bbc 7")) == [1, 2]
    assert sieve.holds("x") == []


def test_an_automaton_finds_overlapping_keys() -> None:
    """Every occurrence of every key."""
    assert sorted(Automaton(["bob", "obo"]).find("bobob")) == [(0, 0, 3), (0, 2, 5), (1, 1, 4)]
    assert Automaton([]).find("bob") == []


def test_an_automaton_knows_how_keys_begin() -> None:
    """For what may still become one."""
    automaton = Automaton(["bomb", "bombast"])
    assert [automaton.begins(text) for text in ("", "b", "bomb", "bombs")] == [True, True, True, False]
    assert [automaton.extends(text) for text in ("b", "bomb", "bombast")] == [True, True, False]


def test_many_keys_are_found_too() -> None:
    """More than the table of all transitions is made for."""
    automaton = Automaton(f"key{number:05}" for number in range(3000))
    assert automaton.find("a key02999 here") == [(2999, 2, 10)]


@given(st.lists(st.text("ab\u6975", min_size=1, max_size=5), max_size=6), st.text("abc", max_size=12))
def test_tails_tell_what_the_automaton_tells(keys: list[str], text: str) -> None:
    """Whether a key is in a text, and of its tails the longest that begins one."""
    tails, automaton = Tails(keys), Automaton(keys)
    state = 0
    for char in text:
        state = tails.table[state * tails.width + tails.columns.get(char, 0)]
        if state == FOUND:
            break
    assert (state == FOUND) is bool(automaton.find(text))
    if state != FOUND:
        assert tails.depths[state] == max(n for n in range(len(text) + 1) if not n or automaton.begins(text[-n:]))


def test_what_makes_other_engines_hang_takes_no_time() -> None:
    """The classic."""
    began = time.process_time()
    assert Pattern("(a+)+$").first("a" * 20_000 + "b") is None
    assert time.process_time() - began < 1
