"""Azure AI Content Safety: four operations, each asked where it says something."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import AzureContentSafety
from app.providers.transport import HttpTransport
from app.safety.detector import DetectorFailure, Finding, Inspection, Passage
from app.safety.remote.azure import Azure
from tests.support.safety_services import KEY, SafetyServices

LONG = (
    "These are the words of a song that everybody knows by heart and sings on every single day of the year, protected."
)


def azure(services: SafetyServices, transport: HttpTransport, **settings: Any) -> Azure:
    """What asks the fake."""
    given = {"endpoint": services.url, "api_key": "env:KEY", **settings}
    return Azure(AzureContentSafety.model_validate(given, context={"KEY": KEY}), transport)


def prompt(*texts: tuple[str, str]) -> Inspection:
    """A prompt of role and text."""
    return Inspection("prompt", tuple(Passage(text, role) for role, text in texts))


async def test_severities_are_azures(services: SafetyServices, transport: HttpTransport) -> None:
    """Each category on its own, at its passage; what the operator wrote is not asked about."""
    seen = prompt(("system", "azure:Hate=6"), ("user", "azure:SelfHarm=4 azure:Violence=2"), ("user", "fine"))
    assert set(await azure(services, transport, checks=("harm",)).check(seen)) == {
        Finding("self_harm", 4, 4 / 6, 1),
        Finding("violence", 2, 2 / 6, 1),
    }


async def test_attacks_by_role(services: SafetyServices, transport: HttpTransport) -> None:
    """A user's is a jailbreak, a tool's an indirect attack; an assistant's own words are neither."""
    seen = prompt(("user", "an attack"), ("assistant", "an attack"), ("tool", "an attack"), ("document", "a report"))
    assert await azure(services, transport, checks=("attack",)).check(seen) == [
        Finding("jailbreak", 6, None, 0),
        Finding("indirect_attack", 6, None, 2),
    ]


async def test_answers_against_documents_and_known_texts(services: SafetyServices, transport: HttpTransport) -> None:
    """Groundedness needs documents, protected material enough text: what stands before the piece counts."""
    about = Inspection(
        "completion", (Passage("ungrounded words, protected", "assistant"),), LONG, ("a report",), "Who?"
    )
    both = azure(services, transport, checks=("ungrounded", "protected_material"))
    assert await both.check(about) == [Finding("protected_material", 6, None, 0), Finding("ungrounded", 6, 1.0, 0)]
    assert await both.check(about._replace(before="", documents=())) == []
    assert [finding.category for finding in await both.check(about._replace(question=""))][-1] == "ungrounded"


async def test_long_texts_go_in_several_questions(services: SafetyServices, transport: HttpTransport) -> None:
    """What stands at their end is found."""
    seen = prompt(("user", "a word " * 4000 + "azure:Sexual=6"))
    assert await azure(services, transport, checks=("harm",)).check(seen) == [Finding("sexual", 6, 1.0, 0)]


async def test_a_long_chat_is_asked_about(services: SafetyServices, transport: HttpTransport) -> None:
    """However many texts it has."""
    seen = prompt(*[("user", f"turn {place}") for place in range(99)], ("user", "azure:Hate=6 attack"))
    found = await azure(services, transport, checks=("harm", "attack")).check(seen)
    assert [(one.category, one.passage) for one in found] == [("hate", 99), ("jailbreak", 99)]


async def test_what_is_too_long_is_a_failure(services: SafetyServices, transport: HttpTransport) -> None:
    """And nothing is asked about the rest."""
    before = len(services.requests())
    seen = prompt(("user", "short"), ("user", "a word " * 40_000))
    with pytest.raises(DetectorFailure, match="too long"):
        await azure(services, transport, checks=("harm", "attack")).check(seen)
    assert len(services.requests()) == before


@pytest.mark.parametrize("text", ["SHAPE", "GARBAGE", "STATUS-503"])
async def test_another_shape_is_a_failure(services: SafetyServices, transport: HttpTransport, text: str) -> None:
    """Never a clean bill of health."""
    for check in ("harm", "attack"):
        with pytest.raises(DetectorFailure):
            await azure(services, transport, checks=(check,)).check(prompt(("user", text)))


async def test_a_wrong_key_is_a_failure(services: SafetyServices, transport: HttpTransport) -> None:
    """The service says 401."""
    settings = AzureContentSafety.model_validate({"endpoint": services.url, "api_key": "env:K"}, context={"K": "other"})
    with pytest.raises(DetectorFailure, match="status 401"):
        await Azure(settings, transport).check(prompt(("user", "hello")))
