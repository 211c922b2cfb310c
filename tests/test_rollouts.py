"""The rollout machinery of one process, put together as `main` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.exchange import Operation
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.rollouts import Steering
from app.stores.rollouts import RolloutStore
from app.table import build
from app.tasks import TaskGroup
from tests.pipeline.parts import Counted, call
from tests.support.configs import loaded
from tests.support.databases import sqlite
from tests.support.waiting import until

ROLLED = {"models[0].candidate": "two", "models[0].weight": 30, "models[0].rollout": {"steps": [5, 100]}}


async def test_a_process_watches_observes_and_acts(tmp_path: Path) -> None:
    """Its table follows the store, what it sees arrives there, and at its end the next process may act at once."""
    config = loaded(ROLLED)
    async with sqlite(tmp_path) as database:
        rebuilt: list[int] = []
        clock = asyncio.get_running_loop().time
        steering = Steering(database, Counted(), clock, lambda: config, lambda: rebuilt.append(1))
        store, tasks = RolloutStore(database), TaskGroup("test")

        def weight() -> float:
            split = steering.finish(build(config)).models["chat"].split
            assert split is not None
            return split.weight

        assert weight() == 0.0
        steering.start(tasks)
        await until(lambda: weight() == 30.0)
        await steering.rollouts.start("ops", "chat", {}, "")
        assert (weight(), len(rebuilt)) == (5.0, 2)
        split = steering.finish(build(config)).models["chat"].split
        assert split is not None
        progress, plan = Progress("req_1", Operation.CHAT), Plan(split.choices, split)
        progress.call, progress.deployment = call(), split.candidate
        steering.observer.begin(progress, plan)
        assert progress.observed
        async with asyncio.timeout(10):
            while (await steering.rollouts.show("chat"))["gates"] == []:  # noqa: ASYNC110 - another task's doing
                await asyncio.sleep(0.05)
        assert not await store.lease("next")
        steering.observer.end(progress)
        await tasks.aclose()
        await steering.aclose()
        assert await store.lease("next")
        [(_, batch)] = await store.batches("chat", ())
        assert [name for name, _ in batch["ends"]] == ["req_1"]
