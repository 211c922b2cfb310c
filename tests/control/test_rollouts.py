"""What one process sees of rollouts, and what a person does to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.control.lifecycle import Refused
from app.control.rollouts import Rollouts
from app.stores.notes import StoreUnavailable
from app.stores.rollouts import Changed, RolloutStore
from app.stores.sql import engine
from app.tasks import TaskGroup
from tests.support.configs import loaded
from tests.support.databases import sqlite
from tests.support.waiting import until

ROLLED: dict[str, Any] = {
    "models[0].candidate": "two", "models[0].weight": 5, "models[0].rollout": {"steps": [5, 100]},
}  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RolloutStore]:
    """An empty one."""
    async with sqlite(tmp_path) as database:
        yield RolloutStore(database)


class View(Rollouts):
    """One process, which counts how often its table was built anew."""

    def __init__(self, store: RolloutStore) -> None:
        self.config = loaded(ROLLED)
        self.built = 0
        super().__init__(store, lambda: self.config, self._count)

    def _count(self) -> None:
        self.built += 1


async def test_a_change_reaches_other_processes(store: RolloutStore) -> None:
    """Within a second, and only changes do."""
    one, other, tasks = View(store), View(store), TaskGroup("test")
    known: list[Any] = [other.lives]
    tasks.spawn("watch", other.watch())
    await until(lambda: other.lives == {}, seconds=10)
    assert (known, other.any) == ([None], False)
    begin = asyncio.get_running_loop().time()
    await one.start("ops", "chat", {}, "")
    await until(lambda: other.any, seconds=10)
    assert asyncio.get_running_loop().time() - begin < 5
    assert {name: live.weight for name, live in (other.lives or {}).items()} == {"chat": 5.0}
    built = other.built
    await asyncio.sleep(0.6)
    assert other.built == built
    await tasks.aclose()


async def test_everything_a_person_may_do(store: RolloutStore) -> None:
    """In its order; each with who did it and why."""
    view = View(store)
    await view.start("ann", "chat", {}, "go")
    assert (await view.act("bob", "chat", "set_weight", "more", 12.5))["weight"] == 12.5
    assert (await view.act("bob", "chat", "resume", ""))["state"] == "running"
    assert (await view.act("bob", "chat", "pause", "lunch"))["state"] == "paused"
    assert (await view.act("bob", "chat", "advance", ""))["weight"] == 100.0
    assert (await view.act("bob", "chat", "abort", "no"))["state"] == "rolled_back"
    assert (await view.start("ann", "chat", {}, ""))["run"] == 2
    assert (await view.act("ann", "chat", "promote", "yes"))["state"] == "promoted"
    log = (await view.show("chat"))["log"]
    assert [(line["who"], line["event"], line["reason"]) for line in reversed(log)] == [
        ("ann", "start", "go"), ("bob", "set_weight", "more"), ("bob", "resume", ""), ("bob", "pause", "lunch"),
        ("bob", "advance", ""), ("bob", "abort", "no"), ("ann", "start", ""), ("ann", "promote", "yes"),
    ]  # fmt: skip
    assert [one["model"] for one in await view.list()] == ["chat"]


async def test_what_is_refused_changes_nothing(store: RolloutStore) -> None:
    """No rollout, one that is over, one that is there already, a weight that is none."""
    view = View(store)
    with pytest.raises(Refused, match="has no rollout"):
        await view.act("ann", "chat", "pause", "")
    with pytest.raises(Refused, match="has no rollout"):
        await view.show("chat")
    await view.start("ann", "chat", {}, "")
    with pytest.raises(Refused, match="has a rollout already"):
        await view.start("ann", "chat", {}, "")
    with pytest.raises(Refused, match="between 0 and 100"):
        await view.act("ann", "chat", "set_weight", "", 101.0)
    with pytest.raises(Refused, match="resume is not possible while the rollout is running"):
        await view.act("ann", "chat", "resume", "")
    assert len((await view.show("chat"))["log"]) == 1


async def test_two_people_at_once(store: RolloutStore) -> None:
    """Both changes are made, one after the other, each to what the other left."""
    one, two = View(store), View(store)
    await one.start("ann", "chat", {}, "")
    await asyncio.gather(one.act("ann", "chat", "set_weight", "", 10.0), two.act("bob", "chat", "set_weight", "", 20.0))
    assert len((await one.show("chat"))["log"]) == 3


async def test_who_is_always_too_late_is_told(store: RolloutStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries."""
    view = View(store)

    async def change(*_: Any) -> None:
        raise Changed("again")

    monkeypatch.setattr(store, "change", change)
    with pytest.raises(Refused, match="keeps changing"):
        await view.start("ann", "chat", {}, "")


async def test_a_file_that_differs_is_a_warning(store: RolloutStore, caplog: pytest.LogCaptureFixture) -> None:
    """Once each; the rollout goes on."""
    caplog.set_level(logging.WARNING, "sluicegate")
    view = View(store)
    await view.start("ann", "chat", {}, "")
    assert not caplog.records
    view.config = loaded({**ROLLED, "models[0].weight": 50})
    view.warn()
    view.warn()
    assert [vars(record)["reason"] for record in caplog.records] == ["chat: weight 50, the rollout is at 5"]


async def test_a_database_that_is_away_changes_nothing() -> None:
    """What was known stays; while nothing was ever known, `lives` says so."""
    gone = View(RolloutStore(engine("postgresql+asyncpg://nobody@127.0.0.1:9/none")))
    tasks = TaskGroup("test")
    tasks.spawn("watch", gone.watch())
    await asyncio.sleep(0.4)
    assert (gone.lives, len(tasks)) == (None, 1)
    await tasks.aclose()
    with pytest.raises(StoreUnavailable):
        await gone.start("ann", "chat", {}, "")
