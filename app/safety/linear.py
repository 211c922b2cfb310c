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
FOUND: Final = -1
"""The state of `Tails` in which a key is complete."""


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


class Tails:
    """Aho-Corasick for short ASCII text, character by character: is a key in it, how much of its end begins one?

    All transitions in one table (Aho and Corasick 1975, section 6): `table[state * width + column]`, with a column for
    each character of the keys, `columns[code]`, and column 0 for any other. State 0 is the beginning, `FOUND` the end
    of a key; `depths[state]` is how many of the last characters begin some key.
    """

    __slots__ = ("columns", "depths", "table", "width")

    def __init__(self, keys: Iterable[str]) -> None:
        ahead: list[dict[str, int]] = [{}]
        self.depths = [0]
        ends: set[int] = set()
        for key in keys:
            state = 0
            for char in key:
                if not char.isascii():
                    break
                after = ahead[state].get(char)
                if after is None:
                    after = ahead[state][char] = len(ahead)
                    ahead.append({})
                    self.depths.append(self.depths[state] + 1)
                state = after
            else:
                ends.add(state)
        alphabet = sorted({char for node in ahead for char in node})
        self.columns = {char: column for column, char in enumerate(alphabet, 1)}
        self.width = width = len(alphabet) + 1
        self.table = [0] * (len(ahead) * width)
        self._fill(ahead, ends)

    def _fill(self, ahead: list[dict[str, int]], ends: set[int]) -> None:
        """From the shortest beginnings to the longest: where a beginning ends, its longest tail goes on."""
        width, table = self.width, self.table
        tails = [0] * len(ahead)
        todo = [0]
        for state in todo:
            tail = tails[state]
            if tail in ends:
                ends.add(state)
            for char, column in self.columns.items():
                beyond = table[tail * width + column] if state else 0
                after = ahead[state].get(char)
                if after is None:
                    table[state * width + column] = beyond
                else:
                    tails[after] = beyond
                    table[state * width + column] = after
                    todo.append(after)
        for place, state in enumerate(table):
            if state in ends:
                table[place] = FOUND


class BytesAutomaton:
    """Finds every occurrence of every key in bytes; small, and as fast as memory lets it be."""

    __slots__ = ("_automaton",)

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._automaton = BytesAhoCorasick(list(keys), implementation=Implementation.ContiguousNFA)

    def find(self, text: bytes) -> list[tuple[int, int, int]]:
        """Index of the key, start and end of each occurrence."""
        return self._automaton.find_matches_as_indexes(text, overlapping=True)
