"""Thresholds, actions, and Azure's shape."""

from __future__ import annotations

from app.safety.actions import CATEGORIES, Actions, results


def test_a_category_acts_from_its_threshold_on() -> None:
    """Four where none is set; blocking where nothing else is."""
    actions = Actions("prompt", {"hate": 6, "violence": 2}, {"pii": "redact", "violence": "log"})
    assert [actions.of("hate", level) for level in (2, 4, 6)] == [None, None, "block"]
    assert [actions.of("sexual", level) for level in (2, 4, 6)] == [None, "block", "block"]
    assert actions.of("violence", 2) == "log"
    assert actions.of_hits == {**dict.fromkeys(CATEGORIES, "block"), "pii": "redact", "violence": "log"}


def test_annotating_is_asked_for() -> None:
    """By any category."""
    assert Actions("completion", {}, {"hate": "annotate"}).annotates
    assert not Actions("completion", {}, {"hate": "log"}).annotates


def test_findings_look_as_azure_gives_them() -> None:
    """Levels for harms, flags for the rest, under Azure's names."""
    shown = results({"hate": 4, "blocklist": 6}, ["blocklist"], ["hate", "violence", "blocklist", "pii"])
    assert shown == {
        "hate": {"filtered": False, "severity": "medium"},
        "violence": {"filtered": False, "severity": "safe"},
        "custom_blocklists": {"filtered": True, "detected": True},
        "personally_identifiable_information": {"filtered": False, "detected": False},
    }
