"""A service that misbehaves is a detector that failed, whatever it does."""

from __future__ import annotations

import asyncio

import pytest

from app.providers.transport import HttpTransport
from app.safety.detector import DetectorFailure
from app.safety.remote import service
from app.safety.remote.service import MOST_PIECES, OVERLAP, Service, pieces, sendable
from tests.support.safety_services import SafetyServices


@pytest.mark.parametrize("text", ["CRASH", "STATUS-429", "STATUS-500", "GARBAGE"])
async def test_what_is_no_answer_is_a_failure(services: SafetyServices, transport: HttpTransport, text: str) -> None:
    """Its text names neither what was asked nor where."""
    with pytest.raises(DetectorFailure) as failure:
        await Service(transport, services.url, {}).post("/v1/moderations", {"input": [text]})
    assert text not in str(failure.value)
    assert "127.0.0.1" not in str(failure.value)


async def test_nobody_there_is_a_failure(transport: HttpTransport) -> None:
    """At once."""
    with pytest.raises(DetectorFailure):
        await Service(transport, "http://127.0.0.1:1", {}).post("/x", {})


async def test_questions_are_bounded(
    services: SafetyServices, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more waits until there is room: a long chat has as many questions as it has texts."""
    monkeypatch.setattr(service, "MOST_AT_A_TIME", 1)
    asked = Service(transport, services.url, {})
    hanging = asyncio.create_task(asked.post("/x", {"text": "HANG"}))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(asked.post("/x", {}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    with pytest.raises(DetectorFailure, match="status 4"):
        await waiting


def test_long_texts_are_cut_with_an_overlap() -> None:
    """What stands on a cut is whole in one piece."""
    text = "".join(chr(0x4E00 + place % 5000) for place in range(25_000))
    cut = pieces(text, 10_000)
    assert all(len(one) <= 10_000 for one in cut)
    assert cut[0][-OVERLAP:] == cut[1][:OVERLAP]
    assert cut[-1][-1] == text[-1]
    assert pieces("short", 10) == ["short"]


def test_a_text_of_which_not_all_would_be_asked_about_is_a_failure() -> None:
    """The guard says what then; a middle that nobody looks at hides anything."""
    most = MOST_PIECES * (1000 - OVERLAP) + OVERLAP
    assert len(pieces("x" * most, 1000)) == MOST_PIECES
    with pytest.raises(DetectorFailure, match="too long"):
        pieces("x" * (most + 1), 1000)


def test_lone_surrogates_are_sent_as_question_marks() -> None:
    """JSON cannot hold them."""
    assert sendable("a\ud800b") == "a?b"
