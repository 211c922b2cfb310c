"""`rules` and `pii` together: what they find in clean text, and where its unfinished tail begins.

They need no waiting: a text of 200 tokens costs them some microseconds.
"""

from __future__ import annotations

from app.safety import pii
from app.safety.normal import KEYS, Clean
from app.safety.terms import Lexicon, Match


class Scanner:
    """The span detectors of one stage of a guard."""

    __slots__ = ("_lexicon", "_pii")

    def __init__(self, lexicon: Lexicon | None, *, pii: bool) -> None:
        self._lexicon = lexicon
        self._pii = pii

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
        if self._pii:
            plain = pii.plain_hold(clean) if clean and not final and clean.isascii() else None
            if plain is not None:
                hold = plain
            else:
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

    def find_raw(self, raw: str) -> tuple[Clean, list[Match]]:
        """What stands in a text as it came, and the clean form that the places are about."""
        clean = Clean(raw)
        found = self.find(clean.text)
        if found and not clean.exact:
            clean = Clean(raw, exact=True)
            found = self.find(clean.text)
        return clean, found
