"""OpenAI's moderation endpoint as a detector."""

from __future__ import annotations

import pytest

from app.config import OpenAIModeration
from app.providers.transport import HttpTransport
from app.safety.detector import DetectorFailure, Finding, Inspection, Passage
from app.safety.remote import moderation
from app.safety.remote.moderation import Moderation
from tests.support.safety_services import KEY, SafetyServices


def asks(services: SafetyServices, transport: HttpTransport) -> Moderation:
    """What asks the fake."""
    given = {"base_url": f"{services.url}/v1", "api_key": "env:KEY"}
    return Moderation(OpenAIModeration.model_validate(given, context={"KEY": KEY}), transport)


def prompt(*texts: str) -> Inspection:
    """A prompt of a user's texts behind the operator's."""
    return Inspection("prompt", (Passage("openai:hate=0.99", "system"), *(Passage(text, "user") for text in texts)))


async def test_scores_become_severities(services: SafetyServices, transport: HttpTransport) -> None:
    """Flagged is a 4, surely flagged a 6, nearly flagged a 2; of several categories that are one here, the worst."""
    seen = prompt(
        "openai:hate=0.6 openai:harassment=0.95",
        "openai:self-harm/intent=0.55",
        "openai:violence=0.3",
        "openai:illicit=0.99",
    )
    assert await asks(services, transport).check(seen) == [
        Finding("hate", 6, 0.95, 1),
        Finding("self_harm", 4, 0.55, 2),
        Finding("violence", 2, 0.3, 3),
    ]


async def test_many_texts_go_in_several_questions(
    services: SafetyServices, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finding is at its own passage."""
    monkeypatch.setattr(moderation, "MOST_TOGETHER", 2)
    seen = prompt("a", "b", "c", "d", "openai:sexual=0.7")
    assert await asks(services, transport).check(seen) == [Finding("sexual", 4, 0.7, 5)]


async def test_nothing_to_ask_is_nothing_asked(services: SafetyServices, transport: HttpTransport) -> None:
    """An empty prompt costs no call."""
    before = len(services.requests())
    assert await asks(services, transport).check(prompt(" ")) == []
    assert len(services.requests()) == before


@pytest.mark.parametrize("text", ["SHAPE", "GARBAGE", "STATUS-500", "CRASH"])
async def test_another_shape_is_a_failure(services: SafetyServices, transport: HttpTransport, text: str) -> None:
    """Never a clean bill of health."""
    with pytest.raises(DetectorFailure):
        await asks(services, transport).check(prompt(text))
