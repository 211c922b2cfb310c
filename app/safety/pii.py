"""Personal data and secrets: e-mail addresses, cards, bank accounts, phones, national numbers, keys.

RE2 finds what looks like one, checksums and registries say whether it is. All of it works on clean text (`normal.py`).
`hold` is the other half: where the tail of an unfinished text begins that may still become any of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stdnum.es import dni, nie
from stdnum.it import codicefiscale

from app.safety import ibans, numbers
from app.safety.linear import Pattern, Sieve
from app.safety.terms import Match

LONGEST: Final = 4096
"""Characters that one item may have, the maximum pattern length of `pii`: of a longer one the first part is taken."""
LONGEST_LOCAL: Final = 64
"""Characters in front of an address's @ (RFC 5321)."""

LONGEST_DOMAIN: Final = 255
"""Characters behind it."""

_LATIN: Final = r"A-Za-z\x{C0}-\x{24F}"
LOCAL_ASCII: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"
_LOCAL: Final = LOCAL_ASCII + "".join(map(chr, range(0xC0, 0x250)))
_KEYS: Final = (
    r"sk-[A-Za-z0-9_\-]{20,}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    r"gh[pousr]_[A-Za-z0-9]{36,}",
    r"github_pat_[A-Za-z0-9_]{50,}",
    r"glpat-[A-Za-z0-9_\-]{20,}",
    r"xox[abeprs]-[A-Za-z0-9\-]{10,}",
    r"AIza[0-9A-Za-z_\-]{35}",
    r"(?:hf|npm)_[A-Za-z0-9]{30,}",
    r"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}",
)
_KEY_BEGINS: Final = (
    r"(?:sk-|(?:sk|rk|pk)_(?:live|test)_|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|AIza|hf_|npm_|eyJ)"
)
_ADDRESS: Final = Pattern(rf"@(?:[{_LATIN}0-9](?:[{_LATIN}0-9\-]*[{_LATIN}0-9])?\.)+[{_LATIN}]{{2,24}}")
"""From the @ on: what one address ends with another may begin with."""
_SECRET: Final = Pattern("|".join(_KEYS))
_PEM: Final = Pattern(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
_PEM_END: Final = Pattern(r"-----END [A-Z ]{0,30}PRIVATE KEY-----")
_PEM_LINES: Final = Pattern(r"\A(?:(?:\s|\\[rn]){0,4}[A-Za-z0-9+/=]{24,})*")
_NUMBERED: Final = (
    (Pattern(r"\b[0-9]{8}-?[A-Za-z]\b"), dni.is_valid),
    (Pattern(r"\b[XYZxyz]-?[0-9]{7}-?[A-Za-z]\b"), nie.is_valid),
    (Pattern(r"\b[0-9]{17}[Xx]\b"), numbers.is_chinese_id),
)
"""Spain's DNI and NIE, China's number that ends in X."""
_FISCAL_CODE: Final = (
    (Pattern(r"\b[A-Za-z]{6}[0-9]{2}[A-Za-z][0-9A-Za-z]{2}[A-Za-z][0-9A-Za-z]{3}[A-Za-z]\b"), codicefiscale.is_valid),
)
_INSURANCE: Final = ((Pattern(r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"), bool),)
_HINTS: Final = Sieve(
    (
        r"[0-9](?:[ .\-/()]{0,2}[0-9]){6}",
        "@",
        rf"{_KEY_BEGINS}|-----BEGIN ",
        r"[A-Za-z]{2}[0-9]{2}[ \-]?[A-Za-z0-9]{2}",
        r"[A-Za-z]{6}[0-9]{2}[A-Za-z]",
        r"[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]",
    )
)
_NUMBER, _AT, _KEY, _ACCOUNT, _FISCAL, _INSURED = range(6)
SHORT: Final = 48
_TELLING: Final = frozenset("0123456789@-_AJ")
"""One of these stands in whatever is found: `AKIA`, `ASIA`, `AIza` and `eyJ` begin keys that may have nothing else."""
_DUMB: Final = bytes(code for code in range(128) if chr(code) not in _TELLING)
_NO_DIGITS: Final = b"@_-AJ"
_FEWEST_TELLING: Final = 2
"""Digits that everything has which is found by its digits."""
_WORDS: Final = ("@", "_", "sk-", "glpat-", "xox", "-----BEGIN ", "AKIA", "ASIA", "AIza", "eyJ")
"""One of these stands in whatever is found without digits."""
_UNCLEAR: Final = frozenset("0123456789@+(")
LOUD: Final = _TELLING | _UNCLEAR
_TAIL: Final = Pattern(
    rf"(?:[{_LATIN}0-9._%+\-]+(?:@[{_LATIN}0-9.\-]*)?"
    r"|\b[A-Z]{2}(?: ?[0-9]{1,2}){0,3} ?[A-D]?)\z"
)
_SECRET_TAIL: Final = Pattern(
    rf"(?:{_KEY_BEGINS}[A-Za-z0-9_.\-]*|-----BEGIN[A-Z \-]*(?:KEY-----[A-Za-z0-9+/=\s\\:,\-]*)?)\z"
)
_IDEOGRAPHS: Final = "\u2e80"


def silent(text: str) -> bool:
    """Whether nothing stands in clean text that could be personal or secret, or be a part of it.

    Of ASCII text first only what tells is looked at, in one pass: digits, and what addresses and keys have.
    """
    if text.isascii():
        telling = text.encode().translate(None, _DUMB)
        if not telling:
            return True
        if len(telling.translate(None, _NO_DIGITS)) < _FEWEST_TELLING and not any(one in text for one in _WORDS):
            return True
    return not _HINTS.holds(text)


def find(text: str, before: str = "", *, final: bool = True) -> list[Match]:
    """Everything personal or secret in clean text, in no order; items may overlap.

    `before` is the end of the text in front of it. Without `final` more may follow: what the next characters decide is
    either not told yet, or lies behind `hold`.
    """
    if len(text) <= SHORT and _TELLING.isdisjoint(text):
        return []
    hints = _HINTS.holds(text)
    if not hints:
        return []
    edge = before[-1:]
    subject = edge + text
    found: list[tuple[int, int, str]] = []
    if _AT in hints:
        found += [(start, end, "EMAIL") for start, end in _addresses(subject)]
    if _KEY in hints:
        found += [(start, end, "SECRET") for start, end in _SECRET.all(subject)]
        found += [(start, _pem_end(subject, end), "SECRET") for start, end in _PEM.all(subject)]
    for hint, patterns in ((_NUMBER, _NUMBERED), (_FISCAL, _FISCAL_CODE), (_INSURED, _INSURANCE)):
        if hint in hints:
            found += [(start, end, "NATIONAL_ID") for start, end in _lettered(subject, patterns, final=final)]
    if edge:  # what begins before the text was not held for a reason
        found = [(max(start - 1, 0), end - 1, label) for start, end, label in found if start or label == "EMAIL"]
    if _ACCOUNT in hints:
        found += [(start, end, "IBAN") for start, end in ibans.find(text)]
    if _NUMBER in hints:
        found += numbers.find(text, before, final=final)
    return [Match(start, end, "pii", 6, label, "pii") for start, end, label in found]


def may_open_account(text: str) -> bool:
    """Whether an account's country may be what ASCII text without digits ends with."""
    return text[-1:] == " " and text[-3:-1].isupper()


def hold(text: str, before: str = "") -> int:
    """Where the longest tail begins that may still become something personal; the text's end where none does."""
    size = len(text)
    if not size or text[-1] >= _IDEOGRAPHS:
        return size
    run = len(text.rstrip(LOCAL_ASCII))
    if (
        size - run <= LONGEST_LOCAL
        and _UNCLEAR.isdisjoint(text)
        and text.isascii()
        and "-----" not in text
        and not may_open_account(text)
    ):
        return run
    return min(_tail(text, before[-1:]), numbers.hold(text, before), ibans.hold(text))


def _tail(text: str, edge: str) -> int:
    """Where the tail begins that may become an address, a secret, or a number with letters in it."""
    size = len(text)
    first = _TAIL.first(edge + text)
    start = size if first is None else max(first[0] - len(edge), 0)
    secret = _SECRET_TAIL.first(text) if size - start > LONGEST_LOCAL or "-----" in text else None
    at = text.rfind("@", start)
    local_end = size if at < 0 else at
    if size - local_end > LONGEST_DOMAIN:
        start = size
    return min(max(start, local_end - LONGEST_LOCAL), size if secret is None else secret[0])


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for at, end in _ADDRESS.all(text):
        local = text[max(0, at - LONGEST_LOCAL) : at]
        start = at - len(local) + len(local.rstrip(_LOCAL))
        if start < at and end - at <= LONGEST_DOMAIN:
            yield start, end


def _lettered(
    text: str, patterns: Sequence[tuple[Pattern, Callable[[str], bool]]], *, final: bool
) -> Iterator[tuple[int, int]]:
    """Numbers with letters in them, as registries check them; one at the very end may be part of a longer word."""
    for pattern, is_valid in patterns:
        for start, end in pattern.all(text):
            if (final or end < len(text)) and is_valid(text[start:end].replace(" ", "")):
                yield start, end


def _pem_end(text: str, begin: int) -> int:
    """Where a private key ends whose first line ends at `begin`: with its last line, or with what is there of it."""
    rest = text[begin : begin + LONGEST]
    ending = _PEM_END.first(rest)
    if ending is not None:
        return begin + ending[1]
    lines = _PEM_LINES.first(rest)
    return begin + (lines[1] if lines is not None else 0)
