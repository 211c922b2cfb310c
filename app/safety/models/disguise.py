"""Text as a model should read it: look-alikes, invisible characters, digits for letters and spread letters undone.

Models are asked about both forms and the worse verdict counts: undoing alone would cost what `H2O` means.
"""

from __future__ import annotations

from app.safety.lookalikes import LATIN
from app.safety.normal import Clean

_ALIKE = {ord(sign): letter for sign, letter in LATIN.items() if not sign.isascii()}
_DIGITS = str.maketrans({"4": "a", "3": "e", "1": "i", "0": "o", "$": "s", "7": "t", "@": "a", "5": "s"})
_FEWEST_SPREAD = 3
"""Letters in a row with something between them that make a word."""
_BETWEEN = str.maketrans(dict.fromkeys(".-_*", " "))


def undisguised(text: str) -> str:
    """The text undisguised, or the very same text where there is nothing to undo. Linear time."""
    plain = text if text.isascii() else _unlike(Clean(text).text)
    return " ".join(_words(plain)) if _suspicious(plain) else plain


def _unlike(text: str) -> str:
    """Latin letters for what looks like them, unless the text is simply written in another script."""
    if text.isascii():
        return text
    latin = sum(map(text.count, "bdfghklmnrstuvwz"))
    alike = sum(1 for sign in text if ord(sign) in _ALIKE)
    return text.translate(_ALIKE) if alike and latin * 2 >= alike else text


def _suspicious(text: str) -> bool:
    """Whether a word has digits or signs among its letters, or letters stand alone in a row."""
    words = text.translate(_BETWEEN).split()
    alone = 0
    for word in words:
        alone = alone + 1 if len(word) == 1 and word.isalpha() else 0
        if alone >= _FEWEST_SPREAD or _is_leet(word):
            return True
    return False


def _words(text: str) -> list[str]:
    """The words of a text, spread ones joined, digits that stand for letters replaced."""
    found: list[str] = []
    for part in text.split("  "):  # who spreads letters with single spaces spreads words with more
        spread: list[str] = []
        for word in _signs_apart(part):
            if len(word) == 1 and word.isalpha():
                spread.append(word)
                continue
            found.extend(_joined(spread))
            spread = []
            found.append(word.translate(_DIGITS) if _is_leet(word) else word)
        found.extend(_joined(spread))
    return found


def _signs_apart(part: str) -> list[str]:
    words = part.split()
    return [piece for word in words for piece in (word.translate(_BETWEEN).split() if _is_spread(word) else [word])]


def _is_spread(word: str) -> bool:
    letters = word.translate(_BETWEEN).split()
    return len(letters) >= _FEWEST_SPREAD and all(len(letter) == 1 for letter in letters)


def _joined(spread: list[str]) -> list[str]:
    return ["".join(spread)] if len(spread) >= _FEWEST_SPREAD else spread


def _is_leet(word: str) -> bool:
    if not 3 <= len(word) <= 40 or word.isalpha() or not word.isascii():
        return False
    bare = word.strip(".,;:!?()\"'")
    odd = sum(1 for sign in bare if sign.isdigit() or sign in "$@")
    letters = sum(1 for sign in bare if sign.isalpha())
    return len(bare) >= 3 and odd > 0 and letters > 0 and odd <= 0.6 * len(bare) and odd + letters == len(bare)
