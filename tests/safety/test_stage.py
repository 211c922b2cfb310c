"""A stage of a guard, compiled."""

from __future__ import annotations

from app.config import CompletionStage, Stage
from app.safety import stage
from app.safety.actions import Actions
from app.safety.terms import Lexicon, parse

NOBODY = Actions("prompt", {}, {})
LEXICON = Lexicon([parse("bomb")])


def test_who_looks_for_what() -> None:
    """Terms only where `rules` looks, and only if there are any."""
    both = stage.Stage(Stage(detectors=("rules", "pii")), NOBODY, LEXICON, {})
    assert both.looks_for == ("pii", "blocklist")
    assert both.scanner is not None
    assert len(both.scanner.find("bomb a@b.com")) == 2
    assert stage.Stage(Stage(detectors=("pii",)), NOBODY, LEXICON, {}).looks_for == ("pii",)
    assert stage.Stage(Stage(detectors=("rules",)), NOBODY, None, {}).scanner is None


def test_how_a_stream_is_watched() -> None:
    """Passing in `async` mode only."""
    settings = CompletionStage.model_validate({"detectors": ("pii",), "stream": {"mode": "async"}})
    assert stage.Stage(settings, NOBODY, None, {}).passing
    assert not stage.Stage(CompletionStage(detectors=("pii",)), NOBODY, None, {}).passing
