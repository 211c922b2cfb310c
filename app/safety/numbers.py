"""Runs of digits: which stretches of them are a card, a phone, or somebody's number in a register.

A *group* is a maximal stretch of digits, a *run* is groups with at most two separators between them. Every stretch of
whole groups with 8 to 19 digits is looked at, so a card is found behind a house number too. What it is depends on the
stretch alone, but for weak checksums, which need a word in front of them that says what is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from typing import Final, NamedTuple

from stdnum.br import cpf
from stdnum.de import idnr
from stdnum.fr import nir
from stdnum.jp import in_ as my_number
from stdnum.pt import nif
from stdnum.us import ssn

FEWEST_DIGITS: Final = 8
"""With a + in front; without one nothing has fewer than nine."""
MOST_DIGITS: Final = 19
MOST_GROUPS: Final = 8
"""Groups that a number is written in; more only where a card's sixteen digits are all spelt out."""
_SPELT: Final = 16
BETWEEN: Final = " .-/()"
MOST_BETWEEN: Final = 2
CONTEXT: Final = 48
"""Characters in front of a number in which the word that says what it is may stand."""
_BEFORE: Final = "+("
_DIGITS: Final = frozenset("0123456789")


class Stretch(NamedTuple):
    """Some groups of a run. `between` is what stands between them, `plus` whether a + is in front."""

    digits: str
    sizes: tuple[int, ...]
    between: tuple[str, ...]
    plus: bool
    context: str


def groups(text: str) -> list[tuple[int, int]]:
    """The maximal stretches of ASCII digits, by one look at every character that is none."""
    found: list[tuple[int, int]] = []
    start = -1
    for place, char in enumerate(text):
        if char in _DIGITS:
            if start < 0:
                start = place
        elif start >= 0:
            found.append((start, place))
            start = -1
    if start >= 0:
        found.append((start, len(text)))
    return found


def find(text: str, before: str, *, final: bool) -> list[tuple[int, int, str]]:
    """Every stretch that means something, as start, end and label. `before` is what stands in front of the text.

    Without `final`, a group at the very end may go on, and is not looked at.
    """
    all_groups = groups(text)
    if all_groups and all_groups[0][0] == 0 and before and before[-1] in _DIGITS:
        del all_groups[0]  # the rest of a group that is too long to be anything
    if all_groups and not final and all_groups[-1][1] == len(text):
        del all_groups[-1]
    joined = [_joined(text[one[1] : after[0]]) for one, after in pairwise(all_groups)]
    found: list[tuple[int, int, str]] = []
    for first, (start, _) in enumerate(all_groups):
        fewest = FEWEST_DIGITS if "+" in text[max(0, start - 2) : start] else FEWEST_DIGITS + 1
        for last in _lasts(text, all_groups, joined, first, fewest):
            label = _label(_stretch(text, all_groups[first : last + 1], before))
            if label is not None:
                found.append((_with_prefix(text, start), all_groups[last][1], label))
    return found


def _lasts(text: str, all_groups: list[tuple[int, int]], joined: list[bool], first: int, fewest: int) -> Iterator[int]:
    """The last groups of the stretches from `first` on that have enough digits and not too many."""
    count = 0
    most = min(first + MOST_GROUPS, len(all_groups))
    for last in range(first, most):
        if last > first and not joined[last - 1]:
            return
        begin, end = all_groups[last]
        count += end - begin
        if count > MOST_DIGITS:
            return
        if count >= fewest:
            yield last
    last = first + _SPELT - 1
    spelt = count == MOST_GROUPS and last < len(all_groups) and text[all_groups[first][0]] in "3456"
    if spelt and all(joined[first:last]) and all(end - begin == 1 for begin, end in all_groups[first : last + 1]):
        yield last


def hold(text: str, before: str) -> int:
    """Where the longest tail begins that may still become a number; the text's end where none does."""
    place = start = len(text)
    count = gap = 0
    while place:
        char = text[place - 1]
        if char in _DIGITS:
            count += 1
            gap = 0
            if count > MOST_DIGITS:
                break
            if (text[place - 2] if place > 1 else before[-1:]) not in _DIGITS:
                start = place - 1
        elif char in BETWEEN and gap < MOST_BETWEEN:
            gap += 1
        else:
            break
        place -= 1
    return _with_prefix(text, start)


def _with_prefix(text: str, start: int) -> int:
    """The start with the + and the bracket in front of it."""
    least = max(0, start - 2)
    while start > least and text[start - 1] in _BEFORE:
        start -= 1
    return start


def _joined(between: str) -> bool:
    return len(between) <= MOST_BETWEEN and all(char in BETWEEN for char in between)


def _stretch(text: str, held: list[tuple[int, int]], before: str) -> Stretch:
    start = held[0][0]
    context = text[max(0, start - CONTEXT) : start]
    if start < CONTEXT:
        context = before[start - CONTEXT :] + context
    return Stretch(
        digits="".join([text[begin:end] for begin, end in held]),
        sizes=tuple([end - begin for begin, end in held]),
        between=tuple([text[held[i][1] : held[i + 1][0]] for i in range(len(held) - 1)]),
        plus="+" in text[_with_prefix(text, start) : start],
        context=context.lower(),
    )


def _label(one: Stretch) -> str | None:
    if _is_card(one):
        return "CARD"
    if _is_registered(one):
        return "NATIONAL_ID"
    return "PHONE" if _is_phone(one) else None


_ISSUERS: Final[dict[int, tuple[str, ...]]] = {
    13: ("4",),
    14: ("30", "36", "38", "39"),
    15: ("34", "37"),
    16: ("4", "5", "6", "35", "22", "23", "24", "25", "26", "27"),
    17: ("5", "6"),
    18: ("5", "6"),
    19: ("4", "5", "6"),
}
"""What cards' numbers begin with, by how many digits they have (ISO/IEC 7812)."""


def _is_card(one: Stretch) -> bool:
    """The digits of a card network, one kind of separator, and Luhn's check digit."""
    return (
        one.digits.startswith(_ISSUERS.get(len(one.digits), ()))
        and len(set(one.between)) <= 1
        and (not one.between or one.between[0] in (" ", "-", "."))
        and _luhn(one.digits)
    )


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812, annex B: every second digit from the right counts twice."""
    return (sum(map(int, digits[::-2])) + sum(map(_TWICE.__getitem__, map(int, digits[-2::-2])))) % 10 == 0


_TWICE: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _is_registered(one: Stretch) -> bool:
    digits, sizes = one.digits, one.sizes
    match len(digits):
        case 9:
            if sizes == (3, 2, 4):
                return ssn.is_valid(digits)
            named = _named(one, "ssn", "social security")
            return (named and ssn.is_valid(digits)) or (_named(one, "nif", "contribuinte") and nif.is_valid(digits))
        case 11:
            if cpf.is_valid(digits) and (sizes == (3, 3, 3, 2) or _named(one, "cpf")):
                return True
            return idnr.is_valid(digits) and (sizes == (2, 3, 3, 3) or _named(one, "steuer", "idnr", "tax id"))
        case 12:
            return _named(one, "マイナンバー", "個人番号", "my number") and my_number.is_valid(digits)
        case 15:
            return digits[0] in "12" and nir.is_valid(digits)
        case 18:
            return is_chinese_id(digits)
    return False


def is_chinese_id(number: str) -> bool:
    """GB 11643: a birth date inside, and ISO 7064, mod 11-2, which may make the last digit an X."""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    check = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return number[6:8] in ("18", "19", "20") and "10X98765432"[check % 11] == number[17].upper()


def _named(one: Stretch, *words: str) -> bool:
    return any(word in one.context for word in words)


def _is_phone(one: Stretch) -> bool:
    digits, sizes, count = one.digits, one.sizes, len(one.digits)
    if one.plus:
        return digits[0] != "0" and count <= 15
    if digits.startswith("00"):
        return 10 <= count <= 17 and digits[2] != "0"
    split = len(sizes) > 1
    if digits[0] == "0":
        mobile = digits[1] in "16789" and count in (10, 11)
        return 9 <= count <= 12 and (mobile or (split and sizes[0] <= 5))
    if sizes in ((3, 3, 4), (1, 3, 3, 4)):
        area = digits[-10:]
        return area[0] in "23456789" and area[3] in "23456789" and (count == 10 or digits[0] == "1")
    return _is_national_mobile(digits, sizes, split=split)


def _is_national_mobile(digits: str, sizes: tuple[int, ...], *, split: bool) -> bool:
    """Numbers without a leading zero: China, Spain and Portugal, Italy, Brazil."""
    match len(digits):
        case 9:
            return digits[0] in "679" and sizes in ((3, 3, 3), (3, 2, 2, 2))
        case 10:
            return digits[0] == "3" and split and sizes[0] == 3
        case 11:
            return (digits[0] == "1" and digits[1] in "3456789" and sizes in ((11,), (3, 4, 4))) or (
                digits[2] == "9" and sizes in ((2, 5, 4), (2, 1, 4, 4))
            )
    return False
