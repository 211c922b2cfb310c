"""What a text says to whoever decodes it: base64, rot13, HTML without its tags, and the escapes of JSON.

Models are asked about that too.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
from typing import Final

from app.safety.escapes import Unescaped
from app.safety.linear import Pattern

MOST_RUNS: Final = 8
"""Stretches of base64 that are decoded of one text."""
_FEWEST: Final = 12
"""Characters that a decoded stretch must have to say anything."""
_BASE64: Final = Pattern(r"[A-Za-z0-9+/_\-]{16,}={0,2}")
_TAG: Final = Pattern(r"<[!/A-Za-z][^<>]{0,300}>")
_COMMON: Final = frozenset(
    ("the", "and", "you", "how", "with", "for", "that", "this", "your", "instructions", "ignore", "make", "all")
)
_COMMON_13: Final = frozenset(codecs.encode(word, "rot13") for word in _COMMON)
_FEWEST_WORDS: Final = 2


def decoded(text: str) -> list[str]:
    """Other readings of a text, none for most. Linear time."""
    found = [one for one in (_without_tags(text), _without_escapes(text), _rot13(text)) if one is not None]
    if len(text) >= 16:
        found += _base64(text)
    return found


def _base64(text: str) -> list[str]:
    """Stretches that are mostly letters once they are decoded; by chance one in 50 000 is, a sign among them or not."""
    found: list[str] = []
    for start, end in _BASE64.all(text):
        if len(found) == MOST_RUNS:
            break
        run = text[start:end].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            said = base64.b64decode(run + "=" * (-len(run) % 4), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if len(said) >= _FEWEST and sum(map(str.isalpha, said)) * 2 > len(said):
            found.append(said)
    return found


def _rot13(text: str) -> str | None:
    """Where more of its words are common once it is turned."""
    words = [word.strip(".,;:!?") for word in text[:2000].casefold().split()]
    turned = sum(word in _COMMON_13 for word in words)
    if turned < _FEWEST_WORDS or turned <= sum(word in _COMMON for word in words):
        return None
    return codecs.encode(text, "rot13")


def _without_tags(text: str) -> str | None:
    if "<" not in text and "&" not in text:
        return None
    pieces, place = [], 0
    for start, end in _TAG.all(text):
        pieces.append(text[place:start])
        place = end
    plain = html.unescape("".join([*pieces, text[place:]]))
    return plain if plain != text else None


def _without_escapes(text: str) -> str | None:
    r"""As the arguments of a tool call read: many models write what is not ASCII as `\u00e9`."""
    if "\\u" not in text:
        return None
    plain = Unescaped(text, final=True).text
    return plain if plain != text else None
