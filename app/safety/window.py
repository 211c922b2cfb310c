"""One text that comes in pieces: nothing of a match ever leaves, and nothing waits that cannot become one.

A window holds the longest tail that may still become a match (invariant 5), at most `MOST_HELD` characters of it. What
it has let go it need not look at again, so a piece costs the same whatever came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from app.safety import pii
from app.safety.escapes import Unescaped
from app.safety.normal import Clean
from app.safety.numbers import CONTEXT
from app.safety.spans import Scanner
from app.safety.terms import MOST_BETWEEN_WORDS, MOST_LETTERS, Match

MOST_HELD: Final = max(pii.LONGEST, MOST_LETTERS * (1 + MOST_BETWEEN_WORDS))
"""Clean characters that a window holds at most; what is longer is let go as it stands."""
_MOST_RAW: Final = 4 * MOST_HELD
"""Raw characters that it holds, invisible ones included."""

BLOCK: Final = "block"
REDACT: Final = "redact"

State = tuple[str, str, int, bool]
"""What a window knows of a text: what waits, what stood before it, and what of it has left or was replaced."""


class Window:
    """The state of one text. `actions` says what a hit of a category does; one without action is let pass, and told.

    With `passing`, everything leaves at once and a match ends the answer when it is complete. `escaped` text is JSON.
    """

    __slots__ = (
        "_actions", "_before", "_escaped", "_ghost", "_held", "_in_string", "_passing", "_scanner", "cut", "hits",
    )  # fmt: skip

    def __init__(
        self, scanner: Scanner, actions: Mapping[str, str], *, escaped: bool = False, passing: bool = False
    ) -> None:
        self._scanner = scanner
        self._actions = actions
        self._escaped = escaped
        self._passing = passing
        self._in_string = False
        self._held = ""
        self._ghost = 0
        self._before = ""
        self.cut = False
        """Whether something was found that ends the answer."""
        self.hits: list[Match] = []
        """What was found so far, as far as it is decided."""

    @property
    def held(self) -> int:
        """Characters that wait."""
        return len(self._held) - self._ghost

    def feed(self, piece: str, *, final: bool = False) -> str:
        """What may leave now that this piece has come; with `final`, everything may that is no match."""
        if self.cut:
            return ""
        text, clean, view, found, hold = self._look(piece, final=final)
        end = len(text) if final else hold if view is None else view.at(hold)
        out = self._replace(text, view or Clean(text), found, hold, end) if found else self._pass(text, end)
        self._keep(text, clean, hold, end)
        return out

    def glance(self, piece: str) -> str | None:
        """The same in the usual case, that nothing is found; None changes nothing."""
        if self.cut:
            return None
        text, clean, view, found, hold = self._look(piece, final=False)
        if found:
            return None
        end = hold if view is None else view.at(hold)
        out = self._pass(text, end)
        self._keep(text, clean, hold, end)
        return out

    def state(self) -> State:
        """What it knows, for `back`."""
        return self._held, self._before, self._ghost, self._in_string

    def back(self, state: State) -> None:
        """As if nothing had come since."""
        self._held, self._before, self._ghost, self._in_string = state

    def _look(
        self, piece: str, *, final: bool
    ) -> tuple[str, str, Clean | Unescaped | None, list[Match], int]:  # fmt: skip
        """What waits with this piece, as it came and as it reads; what is in it, and where what may leave ends."""
        text = self._held + piece
        view: Clean | Unescaped | None = None  # most pieces are as they read
        clean = text
        if not text.isascii() or (self._escaped and "\\" in text):
            view = Unescaped(text, final=final) if self._escaped and "\\" in text else Clean(text, exact=True)
            clean = view.text
        found, hold = self._scanner.step(clean, self._before, final=final)
        if len(clean) - hold > MOST_HELD or len(text) > _MOST_RAW:
            found, hold = self._scanner.step(clean, self._before, final=True)[0], len(clean)
        return text, clean, view, found, hold

    def _keep(self, text: str, clean: str, hold: int, end: int) -> None:
        """What waits from now on, and what is in front of it."""
        if self._escaped:
            self._in_string = _ends_in_string(text[:end], within=self._in_string)
        self._held = text[end:]
        self._before = (self._before + clean[:hold])[-CONTEXT:]

    def _pass(self, text: str, end: int) -> str:
        """What leaves of a text in which nothing was found."""
        ghost = self._ghost
        if self._passing:
            self._ghost = len(text) - end
            return text[ghost:]
        if not ghost:
            return text[:end]
        self._ghost = max(0, ghost - end)
        return text[ghost:end] if ghost < end else ""

    def _replace(self, text: str, view: Clean | Unescaped, found: list[Match], hold: int, end: int) -> str:
        """What leaves of a text in which something was found: up to the first that blocks, and without the redacted."""
        actions = self._actions
        blocking = [match for match in found if actions.get(match.category) == BLOCK]
        if blocking:
            self.cut = True
            self.hits += counted(blocking)
            hold = min(hold, *(match.start for match in blocking))  # what may yet begin one stays, too
            end = view.at(hold)
        told = [match for match in found if match.start < hold and actions.get(match.category) != BLOCK]
        self.hits += counted(told)
        place = ghost = self._ghost
        pieces: list[str] = []
        for match in merged([match for match in told if actions.get(match.category) == REDACT]):
            start, stop = view.at(match.start), view.until(match.end)
            if start >= ghost:  # else it goes on where one ends that was replaced before
                pieces += (text[place:start], self._placeholder(match, text[:start]))
            place = max(place, stop)
        if self._passing and not self.cut:
            self._ghost = len(text) - end
            return text[ghost:]
        if place < end:
            pieces.append(text[place:end])
        self._ghost = max(0, place - end)
        return "".join(pieces)

    def _placeholder(self, match: Match, ahead: str) -> str:
        shown = f"[{match.label}]"
        if self._escaped and not _ends_in_string(ahead, within=self._in_string):
            return f'"{shown}"'  # a bare number is a value of its own: what replaces it has to be one too
        return shown


def counted(matches: list[Match]) -> Iterator[Match]:
    """Each thing that was found once per category, however many patterns have found it."""
    for category in dict.fromkeys(match.category for match in matches):
        yield from merged([match for match in matches if match.category == category])


def merged(matches: list[Match]) -> Iterator[Match]:
    """Matches that overlap as one, in order; it is called by the name of its longest part."""
    whole: Match | None = None
    longest = 0
    for match in sorted(matches):
        size = match.end - match.start
        if whole is None or match.start >= whole.end:
            if whole is not None:
                yield whole
            whole, longest = match, size
            continue
        called = match if size > longest else whole
        longest = max(longest, size)
        whole = called._replace(start=whole.start, end=max(whole.end, match.end))
    if whole is not None:
        yield whole


def _ends_in_string(text: str, *, within: bool) -> bool:
    """Whether JSON text that begins within a string, or outside of one, ends within one."""
    if '"' not in text:
        return within
    place = 0
    while place < len(text):
        if text[place] == '"':
            within = not within
        elif text[place] == "\\":
            place += 1
        place += 1
    return within
