"""The controller before a real database: it moves a rollout by what was observed, alone, and each step once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Config
from app.control import controller as controlling
from app.control.controller import Controller
from app.control.rollouts import Rollouts
from app.stores import rollouts as store_module
from app.stores.notes import StoreUnavailable
from app.stores.rollouts import Changed, RolloutStore
from app.telemetry import ROLLOUT_EVIDENCE, ROLLOUT_STATE, ROLLOUT_WEIGHT, Metric
from tests.pipeline.parts import Counted
from tests.support.configs import loaded
from tests.support.databases import sqlite

STEPS = [{"weight": weight, "hold": 10, "min_requests": 10} for weight in (5, 50, 100)]
ROLLED: dict[str, Any] = {
    "models[0].candidate": "two", "models[0].weight": 0, "models[0].rollout": {"steps": STEPS, "gates": {"error": {}}},
}  # fmt: skip


class Scene:
    """A store, the view that a person has of it, and controllers whose clock is set by hand."""

    def __init__(self, database: AsyncEngine, **changes: Any) -> None:
        self.config: Config = loaded({**ROLLED, **{f"models[0].{name}": value for name, value in changes.items()}})
        self.store = RolloutStore(database)
        self.rollouts = Rollouts(self.store, lambda: self.config, lambda: None)
        self.now = 100.0
        self.telemetry = Counted()
        self._number = 0

    def controller(self, name: str) -> Controller:
        """One more controller."""
        return Controller(self.store, self.telemetry, name, lambda: self.now, lambda: self.config, lambda: True)

    async def observe(self, size: int = 20, *, candidates: int = 10, bad: int = 0, user: str | None = None) -> None:
        """A block of requests that have ended, all of one `user`; the first `bad` ones of the candidate failed."""
        self._number += 1
        epoch = (await self.show())["epoch"]
        names = [f"r{self._number}-{index}" for index in range(size)]
        starts = [[name, user, int(index < candidates)] for index, name in enumerate(names)]
        ends = [[name, {"error": True} if index < bad else {}] for index, name in enumerate(names)]
        body = {"epoch": epoch, "starts": starts, "ends": ends, "answered": candidates, "skipped": 0}
        await self.store.put("chat", orjson.dumps(body).decode())

    async def pass_time(self, controller: Controller, seconds: float) -> None:
        """Turns of a second each."""
        for _ in range(int(seconds)):
            self.now += 1
            await controller.turn()

    async def show(self) -> dict[str, Any]:
        """The rollout as a person sees it."""
        return await self.rollouts.show("chat")

    async def events(self) -> list[tuple[str, float, str]]:
        """The log: what happened, the weight then, who did it."""
        return [(line["event"], line["weight_after"], line["who"]) for line in reversed((await self.show())["log"])]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """An empty one."""
    async with sqlite(tmp_path) as opened:
        yield opened


def told(scene: Scene, metric: Metric) -> dict[tuple[str, ...], float]:
    """What a gauge shows; what is unknown is not shown."""
    return {
        labels: value for labels, (value, *_) in scene.telemetry.read(metric).items() if not math.isnan(value)
    }  # fmt: skip


async def test_a_good_candidate_goes_all_the_way(database: AsyncEngine) -> None:
    """Each step after its hold and its requests, with its line in the log; gauges say where it is."""
    scene = Scene(database)
    await scene.rollouts.start("ops", "chat", {}, "new")
    controller = scene.controller("one")
    await scene.pass_time(controller, 2)
    assert scene.telemetry.read(ROLLOUT_WEIGHT) == {("chat", "one"): (95.0,), ("chat", "two"): (5.0,)}
    assert told(scene, ROLLOUT_STATE)[("chat", "running")] == 1
    for _ in range(3):
        for _ in range(3):
            await scene.observe()
        await scene.pass_time(controller, 5)
        assert told(scene, ROLLOUT_EVIDENCE)["chat", "error"] > 0
        await scene.pass_time(controller, 7)
    assert await scene.events() == [
        ("start", 5.0, "ops"),
        ("passed", 50.0, "controller"),
        ("passed", 100.0, "controller"),
        ("passed", 100.0, "controller"),
    ]
    end = await scene.show()
    assert (end["state"], end["weight"]) == ("promoted", 100.0)
    assert "no alarm in 1" in end["log"][0]["reason"]
    assert end["log"][0]["evidence"][0]["candidate"] == 90
    assert scene.telemetry.read(ROLLOUT_WEIGHT)["chat", "two"] == (100.0,)
    states = {state: value for (_, state), value in told(scene, ROLLOUT_STATE).items()}
    assert states == dict.fromkeys(("idle", "running", "ready", "paused", "rolled_back"), 0) | {"promoted": 1}
    assert told(scene, ROLLOUT_EVIDENCE) == {}
    assert await scene.store.batches("chat", ()) == []


async def test_a_bad_candidate_is_rolled_back(database: AsyncEngine) -> None:
    """At once, whatever the hold; the log has the evidence; with `on_failure: pause` it stops where it is."""
    for on_failure, state, weight in (("rollback", "rolled_back", 0.0), ("pause", "paused", 5.0)):
        scene = Scene(database, rollout={**ROLLED["models[0].rollout"], "on_failure": on_failure})
        await scene.rollouts.start("ops", "chat", {}, "")
        await scene.observe(bad=10)
        await scene.pass_time(scene.controller("one"), 1)
        end = await scene.show()
        assert (end["state"], end["weight"], end["alarmed"]) == (state, weight, True)
        last = end["log"][0]
        assert last["reason"].startswith("error: evidence ")
        assert last["evidence"][0]["alarm"]
        if state == "paused":
            await scene.pass_time(scene.controller("one"), 20)
            assert len((await scene.show())["log"]) == len(end["log"])
        else:
            await scene.store.release("one")


async def test_too_little_traffic_waits_then_pauses(database: AsyncEngine) -> None:
    """Inconclusive is no success: no promotion without requests, a pause once the patience is over."""
    scene = Scene(database, rollout={**ROLLED["models[0].rollout"], "patience": "1m"})
    await scene.rollouts.start("ops", "chat", {}, "")
    controller = scene.controller("one")
    await scene.pass_time(controller, 50)
    assert (await scene.show())["state"] == "running"
    await scene.pass_time(controller, 12)
    end = await scene.show()
    assert (end["state"], end["weight"], end["alarmed"]) == ("paused", 5.0, False)
    assert end["reason"] == "inconclusive: 0 of 10 requests of the candidate"
    await scene.rollouts.act("ops", "chat", "resume", "more traffic now")
    for _ in range(3):
        await scene.observe()
    await scene.pass_time(controller, 12)
    assert (await scene.show())["weight"] == 50.0


@pytest.mark.parametrize(
    ("candidates", "bad", "why"),
    [
        (0, 0, "0 of 10 requests of the candidate"),
        (20, 0, "1 of 20 units observed in the candidate"),
        (20, 20, "1 of 20 units observed in the candidate"),
    ],
    ids=["at stable", "at the candidate", "at a candidate that fails"],
)
async def test_all_traffic_from_one_user(database: AsyncEngine, candidates: int, bad: int, why: str) -> None:
    """He was drawn once, so he is one observation, however much he sends: neither promoted nor rolled back by him."""
    scene = Scene(database, sticky="user", rollout={**ROLLED["models[0].rollout"], "patience": "1m"})
    await scene.rollouts.start("ops", "chat", {}, "")
    controller = scene.controller("one")
    for _ in range(50):
        await scene.observe(candidates=candidates, bad=bad, user="the only one")
        await scene.pass_time(controller, 1)
    assert (await scene.show())["state"] == "running"
    await scene.pass_time(controller, 12)
    end = await scene.show()
    assert (end["state"], end["weight"], end["alarmed"]) == ("paused", 5.0, False)
    assert why in end["reason"]


async def test_in_mode_manual_a_person_moves_it(database: AsyncEngine) -> None:
    """The controller says that a step is passed, and heeds alarms all the same."""
    scene = Scene(database, rollout={**ROLLED["models[0].rollout"], "mode": "manual"})
    await scene.rollouts.start("ops", "chat", {}, "")
    controller = scene.controller("one")
    for _ in range(3):
        await scene.observe()
    await scene.pass_time(controller, 30)
    assert (await scene.show())["state"] == "ready"
    await scene.rollouts.act("eve", "chat", "advance", "looks good")
    assert await scene.events() == [("start", 5.0, "ops"), ("awaits", 5.0, "controller"), ("advance", 50.0, "eve")]
    await scene.observe(bad=10)
    await scene.pass_time(controller, 2)
    assert (await scene.show())["state"] == "rolled_back"


async def test_a_stopped_clock_and_one_that_jumps(database: AsyncEngine) -> None:
    """Time in which nobody watched is no hold; nor does it run backwards."""
    scene = Scene(database)
    await scene.rollouts.start("ops", "chat", {}, "")
    controller = scene.controller("one")
    for _ in range(3):
        await scene.observe()
    await scene.pass_time(controller, 2)
    for jump in (3600.0, -7200.0):
        scene.now += jump
        await controller.turn()
    assert 1 <= (await scene.show())["held_s"] < 8
    assert (await scene.show())["weight"] == 5.0


async def test_deployments_that_leave_the_configuration(database: AsyncEngine) -> None:
    """The rollout pauses and says why, once; an alarm still rolls it back."""
    scene = Scene(database)
    await scene.rollouts.start("ops", "chat", {}, "")
    controller = scene.controller("one")
    await scene.pass_time(controller, 1)
    scene.config = loaded({"models[0].stable": "two"})
    await scene.pass_time(controller, 3)
    end = await scene.show()
    assert (end["state"], end["reason"]) == (
        "paused",
        "the configuration has two as stable, the rollout began with one",
    )
    assert len(end["log"]) == 2
    await scene.observe(bad=10)
    await scene.pass_time(controller, 1)
    assert (await scene.show())["state"] == "rolled_back"


async def test_of_two_controllers_one_acts(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other takes over when it is silent, and goes on with the same evidence."""
    scene = Scene(database)
    await scene.rollouts.start("ops", "chat", {}, "")
    one, two = scene.controller("one"), scene.controller("two")
    await scene.pass_time(one, 1)
    await scene.observe(bad=2)
    await scene.pass_time(two, 2)
    assert len(await scene.store.batches("chat", ())) == 1
    await scene.pass_time(one, 2)
    before = (await scene.show())["gates"]
    assert before[0]["candidate_bad"] == 2
    monkeypatch.setattr(store_module, "LEASE_S", -1.0)
    await scene.pass_time(one, 1)
    monkeypatch.undo()
    await scene.pass_time(two, 3)
    with pytest.raises(Changed):
        await scene.store.learn("one", "chat", store_module.Learned({}))
    assert (await scene.show())["gates"] == before
    await two.aclose()
    await scene.pass_time(one, 1)
    assert await scene.store.lease("one")


@pytest.mark.parametrize("seed", range(6))
async def test_killed_at_any_turn(database: AsyncEngine, seed: int) -> None:
    """Controllers that die again and again, some in the middle of a turn: no step is lost, none is done twice."""
    scene, random = Scene(database), Random(seed)
    await scene.rollouts.start("ops", "chat", {}, "")
    for life in range(60):
        controller = scene.controller(f"life-{life}")
        for _ in range(random.randrange(1, 12)):
            await scene.observe(candidates=random.randrange(8, 12))
            scene.now += 1
            if random.random() < 0.15:
                turn = asyncio.ensure_future(controller.turn())
                await asyncio.sleep(random.random() * 0.004)
                turn.cancel()
                await asyncio.gather(turn, return_exceptions=True)
                break
            await controller.turn()
        await scene.store.release(f"life-{life}")
        if (await scene.show())["state"] == "promoted":
            break
    assert await scene.events() == [
        ("start", 5.0, "ops"),
        ("passed", 50.0, "controller"),
        ("passed", 100.0, "controller"),
        ("passed", 100.0, "controller"),
    ]


async def test_a_turn_that_is_given_up_shows_nothing(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that an earlier turn has shown either: somebody else may act by now, and show it."""
    monkeypatch.setattr(controlling, "EVERY", 0.001)
    scene = Scene(database)
    await scene.rollouts.start("ops", "chat", {}, "")
    await scene.observe()
    controller = scene.controller("one")
    await scene.pass_time(controller, 2)
    assert told(scene, ROLLOUT_EVIDENCE)
    given_up = asyncio.Event()

    async def away(*_: Any) -> Any:
        given_up.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(scene.store, "batches", away)
    running = asyncio.create_task(controller.run())
    await given_up.wait()
    assert [told(scene, metric) for metric in (ROLLOUT_EVIDENCE, ROLLOUT_STATE, ROLLOUT_WEIGHT)] == [{}, {}, {}]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_rollouts_nobody_asks_for_the_lease(database: AsyncEngine) -> None:
    """A gateway that rolls nothing out writes nothing."""
    scene = Scene(database)
    idle = Controller(scene.store, scene.telemetry, "idle", lambda: scene.now, lambda: scene.config, lambda: False)
    await scene.pass_time(idle, 3)
    assert await scene.store.lease("somebody")
