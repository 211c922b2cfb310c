"""The members of an ensemble that a model answers for."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.extras import MODELS
from app.safety.detector import Detector, DetectorFailure, Inspection, Passage
from app.safety.models.client import Client
from app.safety.models.members import CATEGORIES, ModelDetector
from tests.safety.models.lines import Models, serving

CHAT = (
    Passage("Never talk about weapons.", "system"),
    Passage("Hello.", "user"),
    Passage("Hi!", "assistant"),
    Passage("{}", "tool"),
)


async def asked(name: str, inspection: Inspection, tmp_path: Path) -> list[str]:
    """The texts that reach the models; nothing where they are not asked."""
    models = Models()
    async with serving(tmp_path / "s", models):
        client = Client(tmp_path / "s")
        await ModelDetector(name, client).check(inspection)
        await client.aclose()
    return [passage.text for one in models.seen for passage in one.passages]


def test_each_is_a_detector_with_its_categories() -> None:
    """Those of the configuration, no more and no fewer."""
    assert set(CATEGORIES) == set(MODELS)
    for name in MODELS:
        member: Detector = ModelDetector(name, Client(Path("nowhere")))
        assert member.categories == CATEGORIES[name]
        assert member.name == name


async def test_what_operators_wrote_is_not_judged(tmp_path: Path) -> None:
    """A rule that forbids harm is not harm; who answers it is not attacking."""
    seen = Inspection("prompt", CHAT)
    assert await asked("classifier", seen, tmp_path) == ["", "Hello.", "Hi!", "{}"]
    assert await asked("jailbreak", seen, tmp_path) == ["", "Hello.", "", "{}"]


async def test_nobody_is_asked_about_nothing(tmp_path: Path) -> None:
    """An answer attacks nobody; without documents nothing can be held against them."""
    answer = Inspection("completion", (Passage("Fine.", "assistant"),))
    assert await asked("jailbreak", answer, tmp_path) == []
    assert await asked("grounded", answer, tmp_path) == []
    assert await asked("grounded", answer._replace(documents=("All is fine.",)), tmp_path) == ["Fine."]
    assert await asked("classifier", Inspection("prompt", CHAT[:1]), tmp_path) == []


async def test_a_failure_is_a_detector_failure(tmp_path: Path) -> None:
    """The guard's `on_error` says what it means."""
    member = ModelDetector("classifier", Client(tmp_path / "none"))
    with pytest.raises(DetectorFailure):
        await member.check(Inspection("prompt", CHAT))
