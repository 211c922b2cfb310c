"""Text as it reads rather than as it is spelt: what hides a word is taken away, and characters know their origin.

Two forms. The *clean* form is NFKC without invisible characters and stray combining marks; personal data is looked for
in it. The *key* form is made of the clean one, character by character: lower case, look-alikes and leetspeak as the
letter they stand for, separators gone; terms are looked for in it. Both cost one pass in C; ASCII text is its own clean
form.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from itertools import compress
from typing import Final
from unicodedata import is_normalized

from app.config import SEPARATORS
from app.safety.linear import Pattern
from app.safety.lookalikes import LATIN

MOST_MARKS: Final = 8
"""Combining marks on one letter that are looked at; Python's NFKC takes quadratic time in their number."""
_LEET: Final = {
    "0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s",
    "!": "i", "|": "i", "+": "t", "l": "i", "\u20ac": "e", "\u00a3": "l", "\u00a2": "c", "\u00a1": "i",
}  # fmt: skip
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc")
_UNSPACED: Final = (
    0x0E00, 0x0F00, 0x1000, 0x10A0, 0x1100, 0x1200, 0x1780, 0x1800, 0x2E80, 0xA4D0, 0xA960, 0xA980, 0xAC00, 0xD800,
    0xF900, 0xFB00, 0xFE30, 0xFE50, 0xFF66, 0xFFE0, 0x1B000, 0x1B300, 0x20000, 0x32000,
)  # fmt: skip
"""Ends of the ranges of scripts that are written without spaces between words, or with endings glued on (Hangul)."""
_MOST_CACHED: Final = 20_000
_FOLLOWERS: Final = Pattern(
    r"[\p{M}\p{Cf}\x00-\x08\x0E-\x1B\x7F-\x84\x86-\x9F\x{FF9E}\x{FF9F}\x{115F}-\x{11FF}\x{3164}\x{FFA0}\x{2800}\x{FFFC}]"
)
_MARKS: Final = Pattern(rf"\p{{M}}{{{MOST_MARKS + 1}}}")


def _is_invisible(char: str) -> bool:
    if char in _FILLERS:
        return True
    category = unicodedata.category(char)
    return category in ("Cf", "Mn", "Me") or (category == "Cc" and char not in SEPARATORS)


def _is_hidden(char: str) -> bool:
    """Whether the clean form lacks it. It has ASCII's controls: ASCII text is its own clean form, pieces of it too."""
    return char > "\x7f" and _is_invisible(char)


class _Table(dict[int, "str | None"]):
    """A table for `str.translate` that works out each character once; bounded."""

    __slots__ = ()

    def __missing__(self, code: int) -> str | None:
        value = self._fold(chr(code))
        if len(self) < _MOST_CACHED:
            self[code] = value
        return value

    def _fold(self, char: str) -> str | None:
        raise NotImplementedError


class _Visible(_Table):
    """Characters in NFKC, but for the invisible ones and those that are written into the one before."""

    __slots__ = ()

    def _fold(self, char: str) -> str | None:
        if _is_hidden(char) or "\uff9e" <= char <= "\uff9f" or "\u1160" <= char <= "\u11ff":
            return None
        shown = unicodedata.normalize("NFKC", char)
        return "".join(part for part in shown if not _is_hidden(part)) or None


class _Unhidden(_Table):
    """Characters but for the invisible ones that are no marks on others."""

    __slots__ = ()

    def _fold(self, char: str) -> str | None:
        return None if _is_hidden(char) and unicodedata.category(char) not in ("Mn", "Me") else char


class _Keys(_Table):
    """Clean characters to key characters, one to one or to none."""

    __slots__ = ()

    def _fold(self, char: str) -> str | None:
        if char in SEPARATORS or _is_invisible(char):
            return None
        return _letter(char)


def _letter(char: str) -> str:
    alike = LATIN.get(char)
    if alike is None:
        char = char.lower()[0]
        base = unicodedata.normalize("NFD", char)[0]
        plain = base if base < "\u0500" else char  # kana and Hangul with marks are letters of their own
        alike = LATIN.get(char) or LATIN.get(plain) or (LATIN.get(plain.upper(), plain) if plain > "\x7f" else plain)
    return _LEET.get(alike, alike)


VISIBLE: Final = _Visible()
_UNHIDDEN: Final = _Unhidden()
KEYS: Final = _Keys()
_KEPT: Final = bytes(char not in SEPARATORS and not _is_invisible(char) for char in map(chr, range(128)))


_ASCII_KEYS: Final = bytes(ord(KEYS[code] or "\0") for code in range(128)) + bytes(128)
_ASCII_GONE: Final = bytes(code for code in range(128) if KEYS[code] is None)


def ascii_key(clean: bytes) -> bytes:
    """The key form of clean text that is ASCII, both as bytes."""
    return clean.translate(_ASCII_KEYS, _ASCII_GONE)


def key(clean: str) -> str:
    """The key form of clean text."""
    return clean.translate(KEYS)


def kept(clean: str) -> list[int]:
    """Where in the clean text each character of its key form stands."""
    if clean.isascii():
        return list(compress(range(len(clean)), clean.encode().translate(_KEPT_TABLE)))
    return [index for index, char in enumerate(clean) if KEYS[ord(char)] is not None]


_KEPT_TABLE: Final = _KEPT + bytes(128)


def spaced(char: str) -> bool:
    """Whether a character is part of words that stand between spaces, so that a word's end can be told."""
    if char.isascii():
        return char.isalnum()
    return char.isalnum() and bisect_right(_UNSPACED, ord(char)) % 2 == 0


class Clean:
    """A text and its clean form.

    Where clean characters come from can be asked of ASCII, of text without marks and invisible characters, and of any
    other text that was made `exact`, which costs about a microsecond a character.
    """

    __slots__ = ("_offsets", "exact", "raw", "text")

    def __init__(self, raw: str, *, exact: bool = False) -> None:
        self.raw = raw
        self.exact = True
        self._offsets: list[int] | None = None
        if raw.isascii():
            self.text = raw
            return
        if is_normalized("NFKC", raw) and _FOLLOWERS.first(raw) is None:
            self.text = raw
            return
        self.text = visible = raw.translate(VISIBLE)
        if visible == raw or _FOLLOWERS.first(raw) is None:
            return
        if exact:
            self.text, self._offsets = _clean(raw)
        else:
            self.exact = False
            self.text = _fast(raw, visible)

    @property
    def single(self) -> bool:
        """Whether every character became what it is by itself, whatever stands beside it."""
        return self.exact and self._offsets is None

    def at(self, index: int) -> int:
        """Where in the raw text the clean character at `index` begins; its end for the clean text's end."""
        return index if self.text is self.raw else self._places()[index]

    def until(self, index: int) -> int:
        """Where the origin of the clean text before `index` ends in the raw text, what follows invisibly included."""
        if self.text is self.raw or index == 0:
            return index
        offsets = self._places()
        begun = offsets[index - 1]
        while offsets[index] == begun and index < len(offsets) - 1:
            index += 1
        return offsets[index]

    def _places(self) -> list[int]:
        if self._offsets is None:
            self._offsets = [place for place, char in enumerate(self.raw) for _ in VISIBLE[ord(char)] or ""]
            self._offsets.append(len(self.raw))
        return self._offsets


def _fast(raw: str, visible: str) -> str:
    """The clean form as a whole."""
    if _MARKS.first(raw) is not None:
        return visible
    return unicodedata.normalize("NFKC", raw.translate(_UNHIDDEN)).translate(VISIBLE)


def _clean(raw: str) -> tuple[str, list[int]]:
    """The clean form, cluster by cluster: a character with the marks and invisible ones that follow it."""
    characters: list[str] = []
    offsets: list[int] = []
    place, size = 0, len(raw)
    while place < size:
        end = place + 1
        while end < size and raw[end] > "\x7f" and VISIBLE[ord(raw[end])] is None:
            end += 1
        for char in _cluster(raw[place:end]):
            characters.append(char)
            offsets.append(place)
        place = end
    offsets.append(size)
    return "".join(characters), offsets


def _cluster(raw: str) -> str:
    """A cluster's clean form, with a bounded number of marks looked at."""
    if len(raw) == 1:
        return VISIBLE[ord(raw)] or ""
    shown = "".join([char for char in raw if _UNHIDDEN[ord(char)] is not None])[: MOST_MARKS + 1]
    return "".join([char for char in unicodedata.normalize("NFKC", shown) if not _is_hidden(char)])
