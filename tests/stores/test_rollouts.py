"""Rollouts in real databases: changes to the version that was seen, one controller, nothing half written."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores import rollouts as module
from app.stores.directory import Directory
from app.stores.feedback import Answered, FeedbackStore
from app.stores.notes import StoreUnavailable
from app.stores.rollouts import Changed, Entry, Learned, RolloutStore, Score, Stored
from app.stores.sql import engine

MADE = Entry("ops", "start", ("idle", 0.0), ("running", 1.0), "because", [])
MOVED = Entry("controller", "passed", ("running", 1.0), ("running", 5.0), "no alarm", [{"gate": "error"}])


@pytest.fixture
def store(database: AsyncEngine) -> RolloutStore:
    """The store on it."""
    return RolloutStore(database)


async def test_a_change_is_made_to_the_version_that_was_seen(store: RolloutStore) -> None:
    """Of two who saw the same, one is heard; with its line in the log, and the version grows."""
    nothing = await store.get("chat")
    assert (nothing.version, await store.version()) == (0, 0)
    await store.change(nothing, {"at": 1}, MADE)
    first = await store.get("chat")
    assert (first.version, first.document) == (1, {"at": 1})
    for stale in (nothing, Stored("chat", 0, {})):
        with pytest.raises(Changed):
            await store.change(stale, {"at": 9}, MADE)
    await store.change(first, {"at": 2}, MOVED)
    with pytest.raises(Changed):
        await store.change(first, {"at": 9}, MOVED)
    assert await store.all() == [Stored("chat", 2, {"at": 2})]
    assert await store.version() == 2
    assert [(line["event"], line["reason"], line["evidence"]) for line in await store.log("chat", 10)] == [
        ("passed", "no alarm", [{"gate": "error"}]),
        ("start", "because", []),
    ]


async def test_many_at_once(store: RolloutStore) -> None:
    """Eight change the same version: one does."""
    await store.change(Stored("chat", 0, {}), {}, MADE)
    seen = await store.get("chat")
    results = await asyncio.gather(
        *(store.change(seen, {"by": number}, MOVED) for number in range(8)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
    assert all(isinstance(result, Changed | StoreUnavailable) for result in results if result is not None)
    assert (await store.get("chat")).version == 2
    assert len(await store.log("chat", 10)) == 2


async def test_a_persons_change_stands_in_the_audit(store: RolloutStore, database: AsyncEngine) -> None:
    """Who, what, and from where to where."""
    await store.change(Stored("chat", 0, {}), {}, MADE)
    [row] = await Directory(database).audit(10)
    assert (row["who"], row["what"], row["subject"]) == ("ops", "rollout start", "chat")
    assert row["before"] == {"state": "idle", "weight": 0.0}
    assert row["after"] == {"state": "running", "weight": 1.0, "reason": "because"}


async def test_one_acts(store: RolloutStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, while it renews; the next one when it lets go or is silent. What the other writes is refused."""
    assert [await store.lease(name) for name in ("one", "two", "one")] == [True, False, True]
    await store.change(Stored("chat", 0, {}), {}, MADE)
    seen = await store.get("chat")
    with pytest.raises(Changed):
        await store.learn("two", "chat", Learned({"by": "two"}))
    with pytest.raises(Changed):
        await store.decide("two", seen, {}, MOVED, Learned({}))
    assert await store.evidence("chat") is None
    await store.release("two")
    assert not await store.lease("two")
    await store.release("one")
    assert await store.lease("two")
    monkeypatch.setattr(module, "LEASE_S", 0.01)
    assert await store.lease("two")
    await asyncio.sleep(0.05)
    assert await store.lease("one")
    with pytest.raises(Changed):
        await store.learn("two", "chat", Learned({}))


async def test_what_was_learned_goes_together(store: RolloutStore) -> None:
    """Evidence, units, batches that are done with: all with the change, or none where it comes too late."""
    await store.lease("one")
    await store.change(Stored("chat", 0, {}), {}, MADE)
    seen = await store.get("chat")
    for number in range(3):
        await store.put("chat", f'{{"n": {number}}}')
    await store.put("other", "{}")
    batches = await store.batches("chat", ())
    assert [body["n"] for _, body in batches] == [0, 1, 2]
    assert [body["n"] for _, body in await store.batches("chat", {batches[0][0]})] == [1, 2]
    unit = {"unit": "u", "epoch": 1, "weight": 5.0, "ceiling": 0.0, "candidate": True, "excluded": False}
    learned = Learned({"e": 1}, batches=[number for number, _ in batches[:2]], units=[unit])
    await store.decide("one", seen, {"at": 5}, MOVED, learned)
    assert await store.evidence("chat") == {"e": 1}
    assert [body["n"] for _, body in await store.batches("chat", ())] == [2]
    assert await store.units("chat") == [{"model": "chat", **unit}]
    with pytest.raises(Changed):
        await store.decide("one", seen, {"at": 9}, MOVED, Learned({"e": 9}, batches=[batches[2][0]]))
    assert await store.evidence("chat") == {"e": 1}
    assert len(await store.batches("chat", ())) == 1
    await store.learn("one", "chat", Learned({"e": 2}, units=[{**unit, "epoch": 2}]))
    assert (await store.units("chat"))[0]["epoch"] == 2
    await store.learn("one", "chat", Learned({"e": 3}, units=[{**unit, "unit": "v"}], forget=True))
    assert [row["unit"] for row in await store.units("chat")] == ["v"]


async def test_scores_of_observed_answers(store: RolloutStore, database: AsyncEngine) -> None:
    """A score finds its unit and arm, once; scores of answers that nobody observed are none of a rollout's business."""
    await store.lease("one")
    answer = {"request_id": "r1", "epoch": 1, "cohort": 5.0, "unit": "u", "candidate": True}
    await store.learn("one", "chat", Learned({}, answers=[answer]))
    feedback, about = FeedbackStore(database), Answered("team", "ci", "chat", "v2", "candidate")
    for name, score in (("r1", 0.25), ("r2", 1.0)):
        await feedback.put(name, about, score, None)
    assert await store.scores("chat", ()) == [Score("r1", 1, 5.0, "u", candidate=True, score=0.25)]
    assert await store.scores("chat", {"r1"}) == []
    await store.learn("one", "chat", Learned({}, scored=["r1"]))
    assert await store.scores("chat", ()) == []


async def test_a_database_that_is_away() -> None:
    """Every method says so."""
    gone = RolloutStore(engine("postgresql+asyncpg://nobody@127.0.0.1:9/none"))
    for call in (gone.version(), gone.all(), gone.lease("one"), gone.put("chat", "{}"), gone.units("chat")):
        with pytest.raises(StoreUnavailable):
            await call
