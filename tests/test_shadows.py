"""Places for copies over several workers, and two answers side by side. The rest is a journey (test_shadow.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from app.errors import Outcome
from app.exchange import Arm, Call, Event, Operation, Principal, Usage
from app.metering import Charge, Claim
from app.pipeline.admit import Admission
from app.pipeline.content import Redact
from app.pipeline.progress import Progress
from app.pipeline.reservation import StoreUnavailable
from app.pipeline.transcript import Transcript
from app.safety.redactor import TAKEN, Redactor
from app.shadows import Comparing, LocalPurse, Shadows, _Side, compare
from app.stores import sql
from app.table import Shadow
from app.telemetry import SHADOW_COPIES, SHADOW_IN_FLIGHT
from tests.pipeline.parts import Counted, call, no_tracer, state
from tests.support.databases import sqlite
from tests.support.entries import ENTRY

BUDGET = {"window": "day", "usd": 1}
GUARDED = {"models[0].guard": "default", "guards": [{"name": "default", "completion": {"detectors": ["pii"]}}]}


def shadows(most: int, worker: int = 0, workers: int = 1) -> tuple[Shadows, Shadow, Counted, Admission]:
    """A worker's copies, of which none is sent."""
    asked = {"to": "two", "sample": 1, "max_concurrent": most, "budget": BUDGET}
    running, telemetry = state({"models[0].shadow": asked, "server.max_in_flight": 10}), Counted()
    admission = Admission(running)
    nothing = cast("Any", None)
    made = Shadows(
        running, admission, nothing, nothing, nothing, nothing, (telemetry, no_tracer(telemetry)), (worker, workers)
    )
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


class Judge:
    """A guard that calls answers with a bomb harmful, and cannot tell of a crash."""

    async def harmful(self, settings: Any, tenant: str, call: Call, texts: Sequence[str]) -> bool | None:
        """Of one answer."""
        assert (settings.name, tenant) == ("default", "team")
        assert call.model == "chat"
        return None if "crash" in " ".join(texts) else any("bomb" in text for text in texts)


async def looked(
    primary: _Side, shadow: _Side, *, redact: Redact | None = None, guarded: bool = True, meaning: bool = True
) -> dict[str, object]:
    """The row of two answers, with what others tell of them."""
    asked = {"to": "two", "sample": 1, "max_concurrent": 1, "budget": BUDGET}
    running = state({"models[0].shadow": asked, **(GUARDED if guarded else {})})
    given = running.table.models["chat"].shadow
    assert given is not None

    async def alike(one: str, other: str) -> float:
        return 0.25 if one != other else 1.0

    nothing, comparing = cast("Any", None), Comparing(cast("Any", None), Judge(), alike, redact)
    told = (Counted(), no_tracer(Counted()))
    made = Shadows(running, Admission(running), nothing, nothing, nothing, comparing, told, (0, 1))
    primary.progress.principal = Principal(tenant="team", key="k")
    primary.progress.outcome = primary.outcome
    row = compare("chat", primary, shadow)
    await made._look(replace(given, embedding_similarity=meaning), row, primary, shadow)
    return row


@pytest.mark.parametrize(
    ("primary", "shadow", "harm"),
    [
        (("fine", Outcome.OK), ("a bomb", Outcome.OK), (False, True)),
        (("fi", Outcome.CUT_GUARD), ("fine", Outcome.OK), (True, False)),
        (("", Outcome.UPSTREAM_ERROR), ("fine", Outcome.OK), (None, False)),
        (("fine", Outcome.OK), ("", Outcome.UPSTREAM_ERROR), (False, None)),
        (("fine", Outcome.OK), ("crash", Outcome.OK), (None, None)),
    ],
)
async def test_harm_flips(
    primary: tuple[str, Outcome], shadow: tuple[str, Outcome], harm: tuple[bool | None, bool | None]
) -> None:
    """The guard that looked at the caller's answer is asked about the shadow's; neither is told where it cannot say."""
    row = await looked(side(*primary), side(*shadow, name="two"))
    assert (row["primary_harm"], row["shadow_harm"]) == harm


async def test_without_a_guard_nobody_tells_of_harm() -> None:
    """And meanings are compared where that was asked for, of two texts that are there."""
    row = await looked(side("one"), side("a bomb", name="two"), guarded=False)
    assert (row["primary_harm"], row["shadow_harm"], row["meaning"]) == (None, None, 0.25)
    assert (await looked(side("one"), side("two", name="two"), meaning=False))["meaning"] is None
    assert (await looked(side("one"), side("", Outcome.UPSTREAM_ERROR, "two")))["meaning"] is None


async def test_texts_are_kept_where_that_was_asked_for() -> None:
    """Nowhere else; and redacted, whatever guard the model has. What an answer's cut goes through is left out."""
    row = await looked(side("one"), side("other", name="two"))
    assert (row["primary_text"], row["shadow_text"]) == (None, None)
    row = await looked(side("one"), side("write to ada@example.com", name="two"), redact=Redactor())
    assert (row["primary_text"], row["shadow_text"]) == ("one", f"write to {TAKEN}")
    long = await looked(side("fine " * 13_105 + "4111 1111 1111 1111"), side("x", name="two"), redact=Redactor())
    assert "4111" not in cast("str", long["primary_text"])


async def test_a_budget_outlives_the_process(tmp_path: Path) -> None:
    """What the ledger says that copies have cost is spent; callers' requests are not."""
    _, shadow, _, _ = shadows(1)
    spent, half = Charge(10, 10**9), Charge(10, 5 * 10**8)
    copied = ENTRY._replace(request_id="shd_1", at=time.time(), model="chat", arm="shadow", charged_nano=5 * 10**8)
    async with sqlite(tmp_path) as database:
        ledger = sql.Ledger(database)
        await ledger.insert([copied, copied._replace(request_id="req_1", arm="stable", charged_nano=10**9)])
        purse = LocalPurse(ledger)
        assert (await purse.reserve(Claim("one", shadow.allowances, spent))).refused == 0
        assert (await purse.reserve(Claim("two", shadow.allowances, half))).refused is None
        assert (await purse.reserve(Claim("three", shadow.allowances, Charge(1, 1)))).refused == 0
        purse.settle("two", Charge(0, 0))
        assert (await purse.reserve(Claim("four", shadow.allowances, half))).refused is None


async def test_while_nobody_knows_what_was_spent_nothing_is() -> None:
    """The database is away."""
    _, shadow, _, _ = shadows(1)
    purse = LocalPurse(sql.Ledger(sql.engine("postgresql+asyncpg://nobody@127.0.0.1:9/none")))
    with pytest.raises(StoreUnavailable):
        await purse.reserve(Claim("one", shadow.allowances, Charge(1, 1)))
