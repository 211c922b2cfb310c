"""Bank account numbers (IBAN, ISO 13616): which stretches of text are one, and which may become one.

The shapes are those of the SWIFT registry, release 101: `n` digits, `a` letters, `c` either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app.safety.linear import Pattern

_REGISTRY: Final = """
AD n8c12, AE n19, AL n8c16, AT n16, AZ a4c20, BA n16, BE n12, BG a4n6c8, BH a4c14, BI n23, BR n23a1c1,
BY c4n4c16, CH n5c12, CR n18, CY n8c16, CZ n20, DE n18, DJ n23, DK n14, DO c4n20, EE n16, EG n25, ES n20,
FI n14, FK a2n12, FO n14, FR n10c11n2, GB a4n14, GE a2n16, GI a4c15, GL n14, GR n7c16, GT c24, HN a4n20, HR n17,
HU n24, IE a4n14, IL n19, IQ a4n15, IS n22, IT a1n10c12, JO a4n4c18, KW a4c22, KZ n3c13, LB n4c20, LC a4c24,
LI n5c12, LT n16, LU n3c13, LV a4c13, LY n21, MC n10c11n2, MD c20, ME n18, MK n3c10n2, MN n16, MR n23,
MT a4n5c18, MU a4n19a3, NI a4n20, NL a4n10, NO n11, OM n3c16, PK a4c16, PL n24, PS a4c21, PT n21, QA a4c21,
RO a4c16, RS n18, RU n14c15, SA n2c18, SC a4n20a3, SD n14, SE n20, SI n15, SK n20, SM a1n10c12, SO n19, ST n21,
SV a4n20, TL n19, TN n20, TR n6c16, UA n6c19, VA n18, VG a4n16, XK n16, YE a4n4c18,
"""
_KINDS: Final = {"n": "0123456789", "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "c": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_BEGIN: Final = Pattern("[A-Za-z]{2}[0-9]{2}")
LONGEST: Final = 72
"""Characters that one may take up: 34, and a separator between any two."""


def _shape(parts: str) -> str:
    """`n5c2` as `nnnnncc`."""
    shape, kind, count = "", "", ""
    for char in f"{parts}.":
        if char.isdigit():
            count += char
        else:
            shape += kind * int(count or 0)
            kind, count = char, ""
    return shape


_SHAPES: Final = {
    country: _shape(parts)
    for country, _, parts in (entry.strip().partition(" ") for entry in _REGISTRY.split(","))
    if country
}


def find(text: str) -> Iterator[tuple[int, int]]:
    """Every valid one. It takes exactly as many characters as its country says, so nothing behind it matters."""
    for start, after in _BEGIN.all(text):
        taken = _take(text, start, after)
        if taken is not None and taken[1] and _checks(text[start : taken[0]]):
            yield start, taken[0]


def hold(text: str) -> int:
    """Where one begins that is not complete; the text's end where none does."""
    begin = max(0, len(text) - LONGEST)
    for start, after in _BEGIN.all(text[begin:]):
        taken = _take(text, start + begin, after + begin)
        if taken is not None and not taken[1]:
            return start + begin
    return len(text)


def _take(text: str, start: int, after: int) -> tuple[int, bool] | None:
    """How far one that begins so goes on, and whether it is complete; None where its country's shape is another."""
    shape = _SHAPES.get(text[start : start + 2].upper())
    if shape is None:
        return None
    place, size = after, len(text)
    for kind in shape:
        if place < size and text[place] in " -":
            place += 1
        if place >= size:
            return place, False
        if text[place].upper() not in _KINDS[kind]:
            return None
        place += 1
    return place, True


def _checks(written: str) -> bool:
    """ISO 7064, mod 97-10."""
    compact = written.replace(" ", "").replace("-", "").upper()
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1
