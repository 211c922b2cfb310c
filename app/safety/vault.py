"""What was taken out of a prompt, so that it can be put back into the answer: for the length of one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

LONGEST: Final = 24
"""Characters of the longest placeholder."""


class Vault:
    """Placeholders of one request: the same text gets the same one, and none that the prompt has by itself."""

    __slots__ = ("_counts", "_kept", "_taken", "values")

    def __init__(self, prompt: str) -> None:
        self._taken = prompt
        self._counts: dict[str, int] = {}
        self._kept: dict[tuple[str, str], str] = {}
        self.values: dict[str, str] = {}
        """Placeholder to what it stands for."""

    def placeholder(self, label: str, text: str) -> str:
        """What stands for a text of this kind."""
        known = self._kept.get((label, text))
        if known is not None:
            return known
        while True:
            number = self._counts[label] = self._counts.get(label, 0) + 1
            shown = f"[{label}_{number}]"
            if shown not in self._taken:
                break
        self._kept[label, text] = shown
        self.values[shown] = text
        return shown


class Restorer:
    """Puts back what placeholders stand for in a text that comes in pieces; holds what may become a placeholder."""

    __slots__ = ("_held", "_values", "_written")

    def __init__(self, values: dict[str, str], *, escaped: bool) -> None:
        self._values = values
        self._written: Callable[[str], str] = _as_json if escaped else str
        self._held = ""

    def feed(self, piece: str, *, final: bool = False) -> str:
        """The text with everything put back, as far as it is certain."""
        text = self._held + piece
        if "[" not in text:
            self._held = ""
            return text
        for shown, value in self._values.items():
            if shown in text:
                text = text.replace(shown, self._written(value))
        begin = len(text) if final else self._unfinished(text)
        self._held = text[begin:]
        return text[:begin]

    def _unfinished(self, text: str) -> int:
        """Where a placeholder begins that is not complete; the end where none does."""
        begin = text.rfind("[", max(0, len(text) - LONGEST))
        if begin >= 0 and any(shown.startswith(text[begin:]) for shown in self._values):
            return begin
        return len(text)


def _as_json(value: str) -> str:
    return orjson.dumps(value).decode()[1:-1]
