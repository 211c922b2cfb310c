"""One worker beside two, and a budget that is used up, briefly, through real workers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from loadtests import scale
from loadtests.line import Answer, Shot
from loadtests.peers.base import Site
from loadtests.scale import Refusals, Stage, spend, told

REFUSAL = b'{"error": {"message": "This request may take 100 tokens; %d of 1000 are left"}}'


@pytest.mark.timeout(120)
def test_two_workers_beside_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Both serve, and both have their part."""
    assert (
        scale.main(["--only", "bare", "--workers", "2", "--rounds", "1", "--seconds", "0.25", "--connections", "4"])
        == 0
    )
    text = capsys.readouterr().out
    assert "| bare, 1 worker | 2 workers |" in text
    assert "bare: 2 workers carry" in text
    idlest = next(line for line in text.splitlines() if line.startswith("| the idlest"))
    assert "[100–100]" in idlest


@pytest.mark.timeout(120)
async def test_a_budget_is_used_up_and_not_exceeded() -> None:
    """To the last request that it covers, as its operator sees it."""

    def limits(document: dict[str, Any], _site: Site) -> None:
        scale.tenants(document, "memory", [], {"spent": 20_000})

    with ExitStack() as stack:
        running = Stage(stack).gateway(1, limits)
        outcome = await spend(running, "spent", 20_000, 4)
    assert not outcome.faults()
    assert outcome.refusals >= 20
    assert 15_000 < outcome.first <= outcome.used <= 20_000


def test_what_a_refusal_says() -> None:
    """The bound and what is left; nothing where it is none."""
    assert told(REFUSAL % 7) == (100, 7)
    assert told(b'{"error": {"message": "This request may take 9"}}') is None
    assert told(b"busy") is None


def test_refusals_are_counted_until_they_are_enough() -> None:
    """What was answered before the first is known; an answer that is neither is a fault; callers stop by themselves."""
    sink, shot = Refusals(2), Shot(b"")
    words = " ".join(["word"] * 64)
    body = b'{"choices": [{"message": {"content": "%s"}}], "usage": {"prompt_tokens": 6, "completion_tokens": 64}}'
    sink(Answer(shot, status=200, body=body % words.encode()))
    assert next(sink.shots(shot)) is shot
    sink(Answer(shot, status=429, body=REFUSAL % 100))
    sink(Answer(shot, status=200, body=body % words.encode()))
    sink(Answer(shot, status=503, body=b"busy"))
    sink(Answer(shot, status=429, body=REFUSAL % 99))
    assert (sink.first, sink.answered, sink.refused, sink.unfounded, len(sink.wrong)) == (70, 140, 2, 1, 1)
    assert next(sink.shots(shot), None) is None
