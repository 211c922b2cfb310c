"""Terms of an operator, found however they are dressed up: in capitals, leetspeak, look-alikes, spelt out, hyphenated.

All terms are looked for in one pass of an automaton over the text's key form (`normal.py`). What it finds is held
against the clean text: were the right characters meant, is it a word of its own where it must be, do the separators
make sense?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from app import config
from app.safety.linear import Automaton, BytesAutomaton, Tails
from app.safety.lookalikes import LATIN
from app.safety.normal import KEYS, Clean, ascii_key, kept, key, spaced

MOST_LETTERS: Final = 256
"""Characters that a term may have, separators not counted: the maximum pattern length of `rules`."""
WHOLE_WORD_BELOW: Final = 8
"""Terms of fewer letters are found as words of their own only: `rapist` must not be found in `therapist`."""
MOST_BETWEEN: Final = 3
"""Separators that may stand between two letters of one word of a term."""
MOST_BETWEEN_WORDS: Final = 16
"""Separators that may stand between two words of a term."""
_LETTERS_AT_MOST: Final = 10_000
"""Of all terms together, for which `Tails` may be as large as it gets: 3 MB."""


class Term(NamedTuple):
    """One term.

    `letters` are its clean characters in lower case without separators; `gaps[i]` tells whether its own text has
    separators behind letter `i`; `left` and `right`, whether a word has to begin and end with it.
    """

    key: str
    letters: str
    gaps: tuple[bool, ...]
    left: bool
    right: bool
    category: str
    severity: int


class TermError(ValueError):
    """A term that cannot be looked for; the text says why."""


def parse(written: str, category: str = "blocklist", severity: int = 6) -> Term:
    r"""A term as it is written. Raises `TermError`.

    A `*` at either end lets it be found inside words, a `\b` keeps it to words of its own. Without either, terms of at
    least `WHOLE_WORD_BELOW` letters are found anywhere, shorter ones as words of their own.
    """
    text, left = _edge(written.strip(), at_end=False)
    text, right = _edge(text, at_end=True)
    clean = Clean(text).text
    places = kept(clean)
    if not places:
        raise TermError("has no character to look for: separators and invisible ones do not count")
    if len(places) > MOST_LETTERS:
        raise TermError(f"has more than {MOST_LETTERS} characters, separators not counted")
    short = len(places) < WHOLE_WORD_BELOW
    return Term(
        key=key(clean),
        letters="".join(_lower(clean[place]) for place in places),
        gaps=tuple(after - before > 1 for before, after in pairwise(places)),
        left=(short if left is None else left) and spaced(clean[places[0]]),
        right=(short if right is None else right) and spaced(clean[places[-1]]),
        category=category,
        severity=severity,
    )


def _edge(text: str, *, at_end: bool) -> tuple[str, bool | None]:
    """The text without its mark at one end, and whether a word has to end there; None where nothing is said."""
    for mark, whole in (("*", False), ("\\b", True)):
        if len(text) > len(mark) and (text.endswith(mark) if at_end else text.startswith(mark)):
            return (text.removesuffix(mark) if at_end else text.removeprefix(mark)), whole
    return text, None


def _lower(char: str) -> str:
    lower = char.lower()
    return lower if len(lower) == 1 else char


class Match(NamedTuple):
    """A stretch of clean text and what it is. `label` says more than the category: `EMAIL`, `CARD`."""

    start: int
    end: int
    category: str
    severity: int
    label: str
    detector: str


class Lexicon:
    """Many terms, compiled."""

    __slots__ = ("_all", "_ascii", "_by_key", "_firsts", "_gapped", "_inside", "longest", "tails")

    def __init__(self, terms: Iterable[Term]) -> None:
        by_key: dict[str, list[Term]] = {}
        for term in dict.fromkeys(terms):
            by_key.setdefault(term.key, []).append(term)
        self._by_key = list(by_key.values())
        self._all = Automaton(by_key)
        self._ascii = BytesAutomaton(key.encode() for key in by_key if key.isascii())
        self._inside = Automaton(key for key, terms in by_key.items() if not all(term.left for term in terms))
        self._firsts = frozenset(key[0] for key in by_key)
        self._gapped = frozenset(
            term.key[: index + 1] for terms in by_key.values() for term in terms for index in _indexes(term.gaps)
        )
        self.longest = max(map(len, by_key), default=0)
        self.tails = Tails(by_key) if sum(map(len, by_key)) <= _LETTERS_AT_MOST else None
        """For short ASCII text; None where there are too many terms."""

    def silent(self, clean: str) -> bool:
        """Whether no term's key stands in it, so that no term does, wherever its words are parted."""
        if clean.isascii():
            return not self._ascii.find(ascii_key(clean.encode()))
        return not self._all.find(clean.translate(KEYS))

    def find(self, clean: str, keys: str, before: str = "", *, final: bool = True) -> list[Match]:
        """Every term in clean text with this key form; `before` is the text in front of it.

        Without `final` more text may follow, and a term at the very end that has to end a word is not told yet.
        """
        found = self._all.find(keys)
        if not found:
            return []
        places, before = kept(clean), before[-1:]
        return [
            Match(places[start], places[end - 1] + 1, term.category, term.severity, "REDACTED", "rules")
            for index, start, end in found
            for term in self._by_key[index]
            if _fits(term, clean, places[start:end], before, final=final)
        ]

    def hold(self, clean: str, keys: str, before: str, until: int) -> int:
        """Where the longest tail begins that may still become a term; `until` where none does that begins before it."""
        places: list[int] | None = None
        first = max(0, len(keys) - self.longest)
        firsts = self._firsts
        for start in range(first, len(keys)):
            if keys[start] in firsts and self._all.begins(tail := keys[start:]):
                if places is None:
                    places = kept(clean)
                place = places[start]
                if place >= until:
                    break
                if self._may_become(clean, places[start:], tail, clean[place - 1] if place else before[-1:]):
                    return place
        return until

    def _may_become(self, clean: str, places: Sequence[int], tail: str, left: str) -> bool:
        """Whether text that some key begins with is dressed as a term could be."""
        if left and spaced(left) and spaced(clean[places[0]]) and not self._inside.begins(tail):
            return False
        last = len(places) - 1
        if places[last] < len(clean) - 1 and not self._all.extends(tail):
            return False
        for index in range(last + 1):
            begin = places[index] + 1
            end = len(clean) if index == last else places[index + 1]
            if begin == end:
                continue
            if tail[: index + 1] in self._gapped:
                if end - begin > MOST_BETWEEN_WORDS:
                    return False
            elif not _is_spelt(clean, places, index, left, None):
                return False
        return True


def _fits(term: Term, clean: str, places: Sequence[int], before: str, *, final: bool) -> bool:
    """Whether what looks like a term is meant to be one."""
    first, last = places[0], places[-1]
    left = clean[first - 1] if first else before
    right = clean[last + 1] if last + 1 < len(clean) else "" if final else None
    whole_left, whole_right = term.left, term.right
    for index, letter in enumerate(term.letters):
        place = places[index]
        char = _lower(clean[place])
        if char != letter and not _stands_for(char, letter):
            return False
        if place == last:
            break
        between = places[index + 1] - place - 1
        if term.gaps[index]:
            if between == 0:  # words run together are words of their own, or anything would hold them
                whole_left = whole_right = True
            elif between > MOST_BETWEEN_WORDS:
                return False
        elif between and not _is_spelt(clean, places, index, left, right):
            return False
    if whole_left and left and spaced(left) and spaced(clean[first]):
        return False
    if whole_right and spaced(clean[last]):
        return right is not None and not (right and spaced(right))
    return True


def _stands_for(char: str, letter: str) -> bool:
    """Whether a character that has the same key as a term's letter was written in its place."""
    if "a" <= char <= "z":
        return LATIN.get(letter) == char
    if "0" <= char <= "9" and "0" <= letter <= "9":
        return False
    return letter.isascii() or letter in LATIN


def _is_spelt(clean: str, places: Sequence[int], index: int, left: str, right: str | None) -> bool:
    """Whether separators behind a letter inside a word are such as somebody puts there who spells it.

    A few, and if there is space among them the letters on both sides stand alone. What is not known yet may be so.
    """
    last = len(places) - 1
    begin = places[index] + 1
    end = len(clean) if index == last else places[index + 1]
    if end - begin > MOST_BETWEEN:
        return False
    if not any(char.isspace() for char in clean[begin:end]):
        return True
    if spaced(clean[begin - 1]):
        joined = begin - 1 - places[index - 1] == 1 if index else bool(left) and spaced(left)
        if joined:
            return False
    if index == last or not spaced(clean[end]):
        return True
    if index + 1 < last:
        return places[index + 2] - end > 1
    if end + 1 < len(clean):
        right = clean[end + 1]
    return not right or not spaced(right)


def _indexes(flags: Sequence[bool]) -> list[int]:
    return [index for index, flag in enumerate(flags) if flag]


def listed(guards: Iterable[config.Guard]) -> Lexicon | None:
    """Every term that these guards list, inline or in files, each once; None where there is none."""
    written = dict.fromkeys(
        term
        for guard in guards
        for term in (*guard.blocklist, *(term for file in guard.blocklist_files for term in file.terms))
    )
    return Lexicon([parse(term) for term in written]) if written else None
