"""What of a text is scored: its sentences one by one, and windows over the whole. Linear time, bounded work."""

from __future__ import annotations

SHORTEST = 24
"""Characters. What is shorter is read together with what follows: `No.` says nothing by itself."""
LONGEST = 400
"""Characters of one sentence; a longer one is cut at a space."""
WINDOW = 600
"""Characters of a window over the whole text; windows overlap by a third."""
MOST_PIECES = 96
"""Pieces scored of one text. Of a longer text the beginning and the end are scored, not the middle."""
_ENDS = (". ", "! ", "? ", "; ")
_WIDE_ENDS = "\u3002\uff01\uff1f\uff1b\u2026"


def pieces(text: str) -> list[str]:
    """Every piece that is scored, each once, in the order of the text; the windows come first."""
    whole, single = apart(text)
    return list(dict.fromkeys((*whole, *single)))


def apart(text: str) -> tuple[list[str], list[str]]:
    """The windows over a text that are scored, and its sentences that are scored."""
    single = sentences(text) if len(text) > SHORTEST else []
    whole = [piece for piece in _ends(windows(text), MOST_PIECES // 4) if not piece.isspace()]
    return whole, [piece for piece in _ends(single, MOST_PIECES * 3 // 4) if not piece.isspace()]


def windows(text: str) -> list[str]:
    """The text in overlapping windows."""
    if len(text) <= WINDOW:
        return [text] if text else []
    step = WINDOW * 2 // 3
    return [text[start : start + WINDOW] for start in range(0, len(text) - WINDOW + step, step)]


def sentences(text: str) -> list[str]:
    """The text in sentences, short ones joined to the next, long ones cut."""
    for end in _ENDS:
        text = text.replace(end, end.rstrip() + "\n")
    for end in _WIDE_ENDS:
        text = text.replace(end, end + "\n")
    found: list[str] = []
    held = ""
    for line in text.split("\n"):
        held = f"{held} {line}".strip() if held else line.strip()
        if _weight(held) >= SHORTEST:
            found.extend(_cut(held))
            held = ""
    if held:
        if found and _weight(held) < SHORTEST // 2:
            found[-1] = f"{found[-1]} {held}"
        else:
            found.append(held)
    return found


def _weight(text: str) -> int:
    """Characters, where one of Chinese or Japanese says as much as three of an alphabet."""
    return len(text) if text.isascii() else len(text) + 2 * sum(1 for sign in text if sign >= "\u3040")


def _cut(sentence: str) -> list[str]:
    parts = []
    while len(sentence) > LONGEST:
        at = sentence.rfind(" ", LONGEST // 2, LONGEST)
        at = LONGEST if at < 0 else at
        parts.append(sentence[:at])
        sentence = sentence[at:].lstrip()
    return [*parts, sentence]


def _ends(found: list[str], most: int) -> list[str]:
    return found if len(found) <= most else [*found[: most // 2], *found[-(most - most // 2) :]]
