"""`rules` and `pii` together: what they find in clean text, and where its unfinished tail begins.

They need no waiting: a text of 200 tokens costs them some microseconds.
"""

from __future__ import annotations

from typing import Final

from app.safety import pii
from app.safety.linear import FOUND, Tails
from app.safety.normal import KEYS, Clean
from app.safety.terms import Lexicon, Match

_LOUD: Final = 255
"""The sign of a character for which a glance is not enough."""


class Scanner:
    """The span detectors of one stage of a guard."""

    __slots__ = ("_lexicon", "_pii", "_signs", "_tails")

    def __init__(self, lexicon: Lexicon | None, *, pii: bool) -> None:
        self._lexicon = lexicon
        self._pii = pii
        self._tails = Tails(()) if lexicon is None else lexicon.tails
        self._signs = b"" if self._tails is None else _signs(self._tails, pii_too=pii)
        """Of each ASCII character `_LOUD`, or twice its column in `_tails` (0 where its key form has none, 1 more than
        that), and 1 more where an address cannot go on with it."""

    def find(self, clean: str) -> list[Match]:
        """What stands in a whole text."""
        lexicon = self._lexicon
        found = lexicon.find(clean, clean.translate(KEYS)) if lexicon is not None else []
        return found + pii.find(clean) if self._pii else found

    def silent(self, text: str) -> bool:
        """Whether nothing is in a text, nor in one that it is a part of but for where it ends; for the usual case.

        False says nothing. Texts that were joined without a separator are silent with one as well.
        """
        clean = Clean(text)
        if not clean.single:
            return False
        lexicon = self._lexicon
        return (lexicon is None or lexicon.silent(clean.text)) and (not self._pii or pii.silent(clean.text))

    def step(self, clean: str, before: str, *, final: bool) -> tuple[list[Match], int]:
        """What stands in the next stretch of a text that goes on, and where the tail begins that is not decided yet."""
        lexicon = self._lexicon
        hold = len(clean)
        found: list[Match] = []
        if not final and clean.isascii() and (quiet := self._quiet(clean)) >= 0:
            return found, quiet
        if self._pii:
            found = pii.find(clean, before, final=final)
            hold = hold if final else pii.hold(clean, before)
        if lexicon is not None:
            keys = clean.translate(KEYS)
            terms = lexicon.find(clean, keys, before, final=final)
            if terms:
                found += terms
            if not final:
                hold = lexicon.hold(clean, keys, before, hold)
        return found, hold

    def _quiet(self, text: str) -> int:
        """Of short ASCII text in which nothing is found, as most pieces of a stream: where the tail begins; else -1.

        One pass, character by character. An address may begin in the run of letters at the end, which is held for it;
        a term that may begin in front of that is looked at by others.
        """
        tails, signs = self._tails, self._signs
        if tails is None or not text or len(text) > pii.SHORT:
            return -1
        table, width = tails.table, tails.width
        state = run = letters = 0
        for place in range(len(text)):
            sign = signs[ord(text[place])]
            if sign == _LOUD:
                return -1
            if sign > 1:
                state = table[state * width + (sign >> 1) - 1]
                if state == FOUND:
                    return -1
                letters += 1
            if sign & 1:
                run, letters = place + 1, 0
        if tails.depths[state] > letters or (self._pii and pii.may_open_account(text)):
            return -1
        return run

    def find_raw(self, raw: str) -> tuple[Clean, list[Match]]:
        """What stands in a text as it came, and the clean form that the places are about."""
        clean = Clean(raw)
        found = self.find(clean.text)
        if found and not clean.exact:
            clean = Clean(raw, exact=True)
            found = self.find(clean.text)
        return clean, found


def _signs(tails: Tails, *, pii_too: bool) -> bytes:
    """The signs of all ASCII characters."""
    signs = bytearray()
    for code, char in enumerate(map(chr, range(128))):
        letter = KEYS[code]
        ends = not pii_too or char not in pii.LOCAL_ASCII
        loud = pii_too and char in pii.LOUD
        signs.append(_LOUD if loud else 2 * (0 if letter is None else tails.columns.get(letter, 0) + 1) + ends)
    return bytes(signs)
