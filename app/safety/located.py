"""Where in a request's texts something was found, across texts too; and what is written in its place."""

from __future__ import annotations

from typing import NamedTuple

from app.safety.escapes import Unescaped
from app.safety.prompts import Joined, Slot
from app.safety.spans import Scanner
from app.safety.terms import Match
from app.safety.vault import Vault


class Located(NamedTuple):
    """A match, and the pieces of texts that it covers: index of the text, start and end in it as it came."""

    match: Match
    pieces: list[tuple[int, int, int]]


def locate(scanner: Scanner, found: list[Slot]) -> list[Located]:
    """Everything that stands in the texts: in each, over several, and where one ends and the next begins."""
    texts = [slot.text for slot in found]
    # The keys of terms and the hints of personal data are those of the joined texts with and without separators.
    if scanner.silent("".join(texts)) and not any(slot.escaped for slot in found):
        return []
    located = _in(scanner, Joined(texts, "\n"))
    if len(texts) > 1:
        across = [one for one in _in(scanner, Joined(texts, "")) if len(one.pieces) > 1]
        located += [one for one in across if not _known(one, located)]
    for index, slot in enumerate(found):
        if slot.escaped and "\\" in slot.text:
            located += _escaped(scanner, index, slot.text)
    return located


def _known(one: Located, located: list[Located]) -> bool:
    """Whether a part of it was found by itself: an address that ends a text does not go on in the next."""
    return any(
        index == known and start < stop and begin < end
        for index, start, end in one.pieces
        for other in located
        for known, begin, stop in other.pieces
    )


def _in(scanner: Scanner, joined: Joined) -> list[Located]:
    clean, matches = scanner.find_raw(joined.text)
    return [Located(match, joined.pieces(clean.at(match.start), clean.until(match.end))) for match in matches]


def _escaped(scanner: Scanner, index: int, text: str) -> list[Located]:
    plain = Unescaped(text, final=True)
    return [
        Located(match, [(index, plain.at(match.start), plain.until(match.end))]) for match in scanner.find(plain.text)
    ]


def apply(redactions: list[Located], found: list[Slot], vault: Vault) -> int:
    """Write placeholders into the texts; returns how many bytes these have.

    Not by how many the texts have grown: a short placeholder may be more tokens than the longer text that it replaces.
    """
    spans: dict[int, list[tuple[int, int, str, bool]]] = {}
    for one in redactions:
        whole = "".join([found[index].text[start:end] for index, start, end in one.pieces])
        for part, (index, start, end) in enumerate(one.pieces):
            spans.setdefault(index, []).append((start, end, f"{one.match.label}\0{whole}", part == 0))
    written = 0
    for index, several in spans.items():
        slot = found[index]
        text, size = _replaced(slot.text, several, vault)
        written += size
        slot.put(text)
    return written


def _replaced(text: str, spans: list[tuple[int, int, str, bool]], vault: Vault) -> tuple[str, int]:
    """The text with a placeholder for each stretch, and their bytes; overlapping ones are one, named by the longest."""
    pieces: list[str] = []
    place = written = 0
    spans.sort(key=lambda span: (span[0], -span[1]))
    index = 0
    while index < len(spans):
        start, end, name, first = spans[index]
        longest = end - start
        index += 1
        while index < len(spans) and spans[index][0] < end:
            size = spans[index][1] - spans[index][0]
            if size > longest:
                longest, name, first = size, spans[index][2], spans[index][3]
            end = max(end, spans[index][1])
            index += 1
        label, _, whole = name.partition("\0")
        covered = text[start:end]
        pieces.append(text[place:start])
        if first:
            shown = vault.placeholder(label, whole if covered in whole else covered)
            written += len(shown.encode())
            pieces.append(shown)
        place = end
    pieces.append(text[place:])
    return "".join(pieces), written
