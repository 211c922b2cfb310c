"""Searching in time linear in the text, whatever the text and the pattern: google-re2, and an Aho-Corasick automaton.

Texts of callers and models are never given to Python's `re`, which can be made to take for ever.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import re2  # type: ignore[import-untyped]  # google-re2 ships no types; this file is the only one that imports it
from ahocorasick_rs import AhoCorasick, BytesAhoCorasick, Implementation

_DFA_AT_MOST: Final = 2000
"""Keys for which the automaton is a table of every transition: fastest, and large."""


class Pattern:
    """One regular expression in RE2's syntax."""

    __slots__ = ("_compiled",)

    def __init__(self, expression: str) -> None:
        self._compiled = re2.compile(expression)

    def first(self, text: str, start: int = 0) -> tuple[int, int] | None:
        """Where it is found first, at or after `start`."""
        match = self._compiled.search(text, start)
        return None if match is None else match.span()

    def all(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it is found, from left to right without overlap."""
        return (match.span() for match in self._compiled.finditer(text))


class Sieve:
    """Several expressions looked for in one pass; tells which of them are somewhere in a text."""

    __slots__ = ("_set",)

    def __init__(self, expressions: Sequence[str]) -> None:
        self._set = re2.Set.SearchSet()
        for expression in expressions:
            self._set.Add(expression)
        self._set.Compile()

    def holds(self, text: str) -> list[int]:
        """The indexes of those that are found."""
        return self._set.Match(text) or []


class Automaton:
    """Finds every occurrence of every key, overlapping ones included; knows what keys begin with."""

    __slots__ = ("_automaton", "_sorted")

    def __init__(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        kind = Implementation.DFA if len(keys) <= _DFA_AT_MOST else Implementation.ContiguousNFA
        self._automaton = AhoCorasick(keys, implementation=kind)
        self._sorted = sorted(set(keys))

    def find(self, text: str) -> list[tuple[int, int, int]]:
        """Index of the key, start and end of each occurrence."""
        return self._automaton.find_matches_as_indexes(text, overlapping=True)

    def begins(self, text: str) -> bool:
        """Whether some key begins with this text."""
        place = bisect_left(self._sorted, text)
        return place < len(self._sorted) and self._sorted[place].startswith(text)

    def extends(self, text: str) -> bool:
        """Whether some key begins with this text and goes on."""
        place = bisect_left(self._sorted, text)
        if place < len(self._sorted) and self._sorted[place] == text:
            place += 1
        return place < len(self._sorted) and self._sorted[place].startswith(text)


class BytesAutomaton:
    """Finds every occurrence of every key in bytes; small, and as fast as memory lets it be."""

    __slots__ = ("_automaton",)

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._automaton = BytesAhoCorasick(list(keys), implementation=Implementation.ContiguousNFA)

    def find(self, text: bytes) -> list[tuple[int, int, int]]:
        """Index of the key, start and end of each occurrence."""
        return self._automaton.find_matches_as_indexes(text, overlapping=True)
