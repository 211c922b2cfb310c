"""Takes out of a text what no trace may hold: personal data, and every term of every guard's blocklist."""

from __future__ import annotations

from collections.abc import Iterable

from app import config
from app.safety.spans import Scanner
from app.safety.terms import listed

TAKEN = "[REDACTED]"


class Redactor:
    """Looks for `pii` and for blocklists, whatever guard a request has. `prepare` follows the configuration."""

    def __init__(self, guards: Iterable[config.Guard] = ()) -> None:
        self.prepare(guards)

    def prepare(self, guards: Iterable[config.Guard]) -> None:
        """Look for the terms of these guards from now on."""
        self._scanner = Scanner(listed(guards), pii=True)

    def __call__(self, text: str) -> str:
        """The text with `TAKEN` for everything that was found."""
        clean, matches = self._scanner.find_raw(text)
        pieces: list[str] = []
        place = 0
        for start, end in sorted((clean.at(one.start), clean.until(one.end)) for one in matches):
            if start >= place:
                pieces += (text[place:start], TAKEN)
            place = max(place, end)
        return "".join((*pieces, text[place:])) if pieces else text
