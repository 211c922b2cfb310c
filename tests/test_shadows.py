"""Places for copies over several workers, and two answers side by side. The rest is a journey (test_shadow.py)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.errors import Outcome
from app.exchange import Arm, Event, Operation, Usage
from app.pipeline.admit import Admission
from app.pipeline.progress import Progress
from app.pipeline.transcript import Transcript
from app.shadows import Shadows, _Side, compare
from app.table import Shadow
from app.telemetry import SHADOW_COPIES, SHADOW_IN_FLIGHT
from tests.pipeline.parts import Counted, call, state

BUDGET = {"window": "day", "usd": 1}


def shadows(most: int, worker: int = 0, workers: int = 1) -> tuple[Shadows, Shadow, Counted, Admission]:
    """A worker's copies, of which none is sent."""
    asked = {"to": "two", "sample": 1, "max_concurrent": most, "budget": BUDGET}
    running, telemetry = state({"models[0].shadow": asked, "server.max_in_flight": 10}), Counted()
    admission = Admission(running)
    nothing = cast("Any", None)
    made = Shadows(running, admission, nothing, nothing, nothing, nothing, telemetry, (worker, workers))
    shadow = running.table.models["chat"].shadow
    assert shadow is not None
    return made, shadow, telemetry, admission


@pytest.mark.parametrize(("most", "workers"), [(8, 1), (8, 3), (2, 4), (1, 4)])
async def test_all_workers_together_keep_the_bound(most: int, workers: int) -> None:
    """Each has its share, none too many."""
    granted = 0
    for worker in range(workers):
        made, shadow, telemetry, _ = shadows(most, worker, workers)
        own = sum(made.room(shadow) for _ in range(most + 2))
        assert telemetry.total(SHADOW_COPIES, "dropped_busy") == most + 2 - own
        assert telemetry.total(SHADOW_IN_FLIGHT) == own
        granted += own
    assert granted == most


async def test_a_place_that_is_given_back() -> None:
    """It serves the next one."""
    made, shadow, telemetry, _ = shadows(1)
    assert [made.room(shadow), made.room(shadow)] == [True, False]
    made.leave(shadow)
    assert made.room(shadow)
    assert telemetry.total(SHADOW_COPIES, "dropped_unwanted") == 1


async def test_under_load_copies_go_first() -> None:
    """From half of what a worker may serve; also those whose request has just ended."""
    made, shadow, telemetry, admission = shadows(4)
    assert made.room(shadow)
    admission.in_flight = 6
    assert not made.room(shadow)
    made.send(shadow, side("hi").progress)
    await asyncio.sleep(0)
    assert telemetry.total(SHADOW_COPIES, "dropped_load") == 2
    assert telemetry.total(SHADOW_IN_FLIGHT) == 0


def side(text: str, outcome: Outcome = Outcome.OK, name: str = "one", **fields: Any) -> _Side:
    """An answer."""
    progress, said = Progress(f"req_{name}", Operation.CHAT), Transcript()
    progress.call, progress.deployment, progress.arm = call(**fields), state().table.deployments[name], Arm.STABLE
    progress.usage = Usage(5, 7)
    said.add([Event(b"", {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})])
    progress.transcript = said
    return _Side(progress, outcome, 1.5, said)


def test_two_answers_side_by_side() -> None:
    """Everything but the texts themselves."""
    json: dict[str, Any] = {"response_format": {"type": "json_object"}}
    row = compare("chat", side('{"a": 1}', **json), side("I'm sorry, but I can't.", name="two", **json))
    assert (row["primary_deployment"], row["shadow_deployment"], row["request_id"]) == ("one", "two", "req_one")
    assert (row["primary_refused"], row["shadow_refused"]) == (False, True)
    assert (row["primary_format_ok"], row["shadow_format_ok"]) == (True, False)
    assert (row["primary_tokens"], row["primary_length"], row["same_tools"]) == (7, 8, None)
    assert cast("float", row["similarity"]) < 0.3
    assert not any("sorry" in str(value) for value in row.values())


def test_what_was_not_answered_is_not_compared() -> None:
    """Only its status, times and cost are."""
    row = compare("chat", side("hello"), side("", Outcome.UPSTREAM_ERROR, "two"))
    assert (row["shadow_outcome"], row["similarity"], row["shadow_refused"]) == ("upstream_error", None, False)
    assert row["shadow_format_ok"] is None
