"""One stage of a guard, compiled: who looks, for what, and what a hit does."""

from __future__ import annotations

from app import config
from app.safety.actions import CATEGORIES, Actions
from app.safety.spans import Scanner
from app.safety.terms import Lexicon


class Stage:
    """One stage of a guard."""

    __slots__ = ("actions", "looks_for", "passing", "safe_text", "scanner")

    def __init__(self, settings: config.Stage, actions: Actions, lexicon: Lexicon | None) -> None:
        detectors = settings.detectors
        self.passing = isinstance(settings, config.CompletionStage) and settings.stream.mode == "async"
        self.actions = actions
        self.safe_text = settings.safe_text
        self.looks_for = tuple(
            name
            for name in CATEGORIES
            if (name == "blocklist" and lexicon and "rules" in detectors) or (name == "pii" and "pii" in detectors)
        )
        rules = lexicon if "rules" in detectors else None
        self.scanner = Scanner(rules, pii="pii" in detectors) if rules is not None or "pii" in detectors else None
