"""One stage of a guard, compiled: who looks, for what, and what a hit does."""

from __future__ import annotations

from collections.abc import Mapping

from app import config
from app.safety.actions import CATEGORIES, Actions
from app.safety.detector import Detector
from app.safety.ensemble import Ensemble
from app.safety.spans import Scanner
from app.safety.terms import Lexicon

SPANS = ("rules", "pii")
"""The detectors that need no waiting."""
ON_ACCOUNT = frozenset({"guard_model"})
"""The detectors that ask on the account of whose text it is."""
_BLOCKING = ("block", "cut")


class Stage:
    """One stage of a guard.

    `hold_chars` and `hold_ms` (here in seconds) say how long a streamed answer waits for the ensemble; `passing` that
    it does not. `on_account` says that some detector cannot be asked where there is nobody's account.
    """

    __slots__ = (
        "actions", "ensemble", "hold_chars", "hold_seconds", "looks_for", "on_account", "passing", "safe_text",
        "scanner",
    )  # fmt: skip

    def __init__(
        self, settings: config.Stage, actions: Actions, lexicon: Lexicon | None, members: Mapping[str, Detector]
    ) -> None:
        detectors = settings.detectors
        self.actions = actions
        self.safe_text = settings.safe_text
        self.on_account = not ON_ACCOUNT.isdisjoint(detectors)
        rules = lexicon if "rules" in detectors else None
        self.scanner = Scanner(rules, pii="pii" in detectors) if rules is not None or "pii" in detectors else None
        self.ensemble = _ensemble(settings, members)
        found = self.ensemble.categories if self.ensemble is not None else frozenset()
        self.looks_for = tuple(
            name
            for name in CATEGORIES
            if name in found or (name == "blocklist" and rules is not None) or (name == "pii" and "pii" in detectors)
        )
        stream = settings.stream if isinstance(settings, config.CompletionStage) else config.Stream()
        self.passing = stream.mode == "async"
        self.hold_chars = stream.hold_chars
        self.hold_seconds = stream.hold_ms / 1000


def _ensemble(settings: config.Stage, members: Mapping[str, Detector]) -> Ensemble | None:
    waited_for = [members[name] for name in settings.detectors if name not in SPANS]
    if not waited_for:
        return None
    on_timeout = getattr(settings, "on_timeout", "block")
    blocks = {reason for reason, meant in (("error", settings.on_error), ("timeout", on_timeout)) if meant in _BLOCKING}
    return Ensemble(waited_for, settings.deadline_ms / 1000, frozenset(blocks))
