r"""The arguments of a tool call are JSON text: `{"to": "b\u006fb@example.com"}` says what it does not show."""

from __future__ import annotations

from typing import Final

from app.safety.normal import Clean

_SIMPLE: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class Unescaped:
    """A stretch of JSON text as its strings read, in the clean form, with the origin of every character.

    An escape that is not complete at the end is left out unless the text is final; then it stands for itself.
    """

    __slots__ = ("_clean", "_offsets", "text")

    def __init__(self, raw: str, *, final: bool) -> None:
        plain, self._offsets = _unescape(raw, final=final)
        self._clean = Clean(plain, exact=True)
        self.text = self._clean.text

    def at(self, index: int) -> int:
        """Where in the raw text the clean character at `index` begins."""
        return self._offsets[self._clean.at(index)]

    def until(self, index: int) -> int:
        """Where the origin of the clean text before `index` ends."""
        return self._offsets[self._clean.until(index)]


def _unescape(raw: str, *, final: bool) -> tuple[str, list[int]]:
    characters: list[str] = []
    offsets: list[int] = []
    place, size = 0, len(raw)
    while place < size:
        char, width = raw[place], 1
        if char == "\\":
            char, width = _escape(raw, place, final=final)
            if not width:
                break
        characters.append(char)
        offsets.append(place)
        place += width
    offsets.append(place)
    return "".join(characters), offsets


def _escape(raw: str, place: int, *, final: bool) -> tuple[str, int]:
    """What an escape stands for and how long it is; no length where its end has not come."""
    kind = raw[place + 1 : place + 2]
    if kind == "u":
        return _unicode(raw, place, final=final)
    if kind:
        simple = _SIMPLE.get(kind)
        return ("\\", 1) if simple is None else (simple, 2)
    return ("\\", 1 if final else 0)


def _unicode(raw: str, place: int, *, final: bool) -> tuple[str, int]:
    code = _code(raw, place)
    if code is None:
        whole = len(raw) >= place + 6 or not _HEX.issuperset(raw[place + 2 :])
        return ("\\", 1 if final or whole else 0)
    if not 0xD800 <= code < 0xE000:
        return chr(code), 6
    if code >= 0xDC00:
        return "\ufffd", 6
    low = _code(raw, place + 6) if raw.startswith("\\u", place + 6) else None
    if low is not None and 0xDC00 <= low < 0xE000:
        return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), 12
    begun = "\\u".startswith(raw[place + 6 : place + 8]) and len(raw) < place + 12
    return "\ufffd", 0 if begun and not final else 6


def _code(raw: str, place: int) -> int | None:
    digits = raw[place + 2 : place + 6]
    return int(digits, 16) if len(digits) == 4 and _HEX.issuperset(digits) else None
