"""The soak's table: it is complete, mixes as it says, and judges by it."""

from __future__ import annotations

from collections import Counter

import pytest

from app.errors import Outcome
from loadtests.line import Answer, Leave, Shot
from loadtests.mix import KINDS, Judge, served, shots
from loadtests.workload import Door
from tests.upstream.behaviour import parse

DOOR = Door("127.0.0.1", 80, (("authorization", "Bearer k"),))


def answer(kind: str, status: int, body: bytes = b"", **more: object) -> Answer:
    """An answer to a request of this kind."""
    return Answer(Shot(b"", kind), status=status, body=body, **more)  # type: ignore[arg-type]  # named by the test


def test_weights_are_in_a_thousand() -> None:
    """So that a row says how often."""
    assert sum(kind.weight for kind in KINDS) == 1000


def test_every_behaviour_is_one_that_the_upstream_knows() -> None:
    """A misspelt model would answer 404 and pass for a failing upstream."""
    assert all(parse(kind.model) for kind in KINDS if kind.model is not None)


def test_every_kind_can_end() -> None:
    """By an answer that is expected, or by leaving."""
    assert all(bool(kind.answers) != bool(kind.leave) for kind in KINDS)


def test_failing_models_stand_apart() -> None:
    """Their upstream's bad health must not touch the sound ones."""
    ports = {model.name: model.port for model in served(1, 2)}
    assert (ports["whole"], ports["stream"], ports["dies"], ports["fails"]) == (1, 1, 2, 2)
    assert "no-model" not in ports


def test_the_mix_is_as_long_as_asked_and_as_mixed_as_said() -> None:
    """And the same for the same seed."""
    found = Counter(shot.kind for shot in shots(DOOR, 20_000, seed=1))
    assert sum(found.values()) == 20_000
    assert all(found[kind.name] == pytest.approx(20 * kind.weight, rel=0.35) for kind in KINDS)
    assert [shot.kind for shot in shots(DOOR, 50, seed=1)] == [shot.kind for shot in shots(DOOR, 50, seed=1)]


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer("whole", 200), Outcome.OK),
        (answer("stream", 200, b"data: {}\n\ndata: [DONE]\n\n"), Outcome.OK),
        (answer("wrong-key", 401), Outcome.REFUSED_AUTH),
        (answer("rate-limited", 429), Outcome.UPSTREAM_ERROR),
        (answer("dies-in-stream", 200, b'data: {}\n\ndata: {"error":{}}\n\n'), Outcome.UPSTREAM_ERROR),
        (answer("leaves-stream", 200, left=True), Outcome.CLIENT_CLOSED),
        (answer("leaves-waiting", 0, left=True), Outcome.CLIENT_CLOSED),
    ],
)
def test_answers_are_judged_by_their_kind(given: Answer, outcome: Outcome) -> None:
    """The outcome that the gateway must have counted."""
    judge = Judge()
    judge(given)
    assert (judge.outcomes[outcome], sum(judge.outcomes.values()), judge.faults) == (1, 1, 0)


@pytest.mark.parametrize(
    "given",
    [
        answer("whole", 500),
        answer("stream", 200, b"data: {}\n\n"),
        answer("dies-in-stream", 200, b"data: {}\n\ndata: [DONE]\n\n"),
        answer("wrong-key", 200),
        answer("leaves-stream", 200, b"data: [DONE]\n\n"),
        answer("whole", 0, fault="closed before the response"),
        Answer(Shot(b""), fault="cannot connect"),
    ],
)
def test_what_was_not_expected_is_a_fault(given: Answer) -> None:
    """In words too."""
    judge = Judge()
    judge(given)
    assert (judge.faults, len(judge.wrong)) == (1, 1)


def test_leaving_is_by_close_and_by_reset() -> None:
    """While waiting and in mid-stream."""
    ways = {(leave.reset, leave.events is None) for kind in KINDS if (leave := kind.leave) is not None}
    assert ways == {(reset, waiting) for reset in (True, False) for waiting in (True, False)}
    assert Leave(events=1) != Leave(events=1, reset=True)
