"""What budgets cost a request: µs of CPU to admit, reserve and settle, and round trips to Redis.

    python -m tests.proofs.cost [--count N]

A key has a budget in tokens and its tenant one in money; or both, their model and everything have one of each, eight in
all. The tenant has rates and places. Measured around the stage as the path uses it, the settlement's own arithmetic
apart: the median of rounds, and the best one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import suppress
from secrets import token_hex
from statistics import median
from typing import Any

import tests.support.interpreted  # noqa: F401  # a class of the gateway gets a subclass here

# isort: split
from app.exchange import Arm, Call, Operation, Principal
from app.metering import Charge
from app.pipeline.fit import at_once
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.reservation import Store
from app.pipeline.reserve import Reserver
from app.process import spare_collections
from app.stores.line import Address, Line
from app.stores.memory import MemoryStore
from app.stores.redis import SCRIPT, RedisStore
from app.table import Table
from app.tasks import TaskGroup
from tests.pipeline.parts import call, table
from tests.support.epochs import open_epoch
from tests.support.redis import Redis
from tests.support.waiting import until

BUDGETS = [{"window": "day", "tokens": 10**15, "usd": 1_000_000}]
CHANGES: dict[str, Any] = {
    "budgets": BUDGETS,
    "models[0].budgets": BUDGETS,
    "tenants[0].budgets": BUDGETS,
    "tenants[0].keys[0].budgets": BUDGETS,
}
FEW: dict[str, Any] = {
    "tenants[0].budgets": [{"window": "month", "usd": 1_000_000}],
    "tenants[0].keys[0].budgets": [{"window": "day", "tokens": 10**15}],
}
RATES: dict[str, Any] = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9, "concurrent": 10**6}
_SPENT = Charge(40, 1000)
ROUNDS = 40


class Counting(Line):
    """A line that counts its round trips."""

    trips = 0

    async def run(self, count: int, encoded: bytes) -> list[int]:
        """As Line's."""
        self.trips += 1
        return await super().run(count, encoded)


def settled(progress: Progress) -> None:
    """Stands in for the arithmetic of `settle`."""
    progress.charge = _SPENT


async def rounds(store: Store, where: Table, count: int, one: Call) -> list[float]:
    """µs of CPU of a request, one after the other, in each of many rounds of so many."""
    reserver, plan = Reserver(store), Plan(((Arm.STABLE, where.deployments["one"]),))
    found = []
    for _ in range(ROUNDS):
        progresses = [Progress(f"{token_hex(8)}.{number}", Operation.CHAT) for number in range(count)]
        for progress in progresses:
            progress.principal, progress.call = Principal("team", "ci"), one
            if not at_once(one, plan, progress):  # the stage before has counted the prompt
                raise AssertionError
        begun = time.process_time()
        for progress in progresses:
            with (
                await reserver.admit(progress, where),
                await reserver.reserve(one, plan, progress, where, settled),
            ):
                if progress.held is not None:
                    progress.held.sending()
        found.append((time.process_time() - begun) / count * 1e6)
    return found


def told(found: list[float]) -> str:
    """As a figure: what disturbs a round only adds."""
    return f"{median(found):.1f} µs (best round {min(found):.1f})"


async def memory(count: int) -> None:
    """Nothing limited; budgets; budgets and rates."""
    for name, changes in (
        ("nothing limits it", {}),
        ("2 budgets, 3 limits", {**FEW, "tenants[0].limits": RATES}),
        ("8 budgets", CHANGES),
        ("8 budgets, 3 limits", {**CHANGES, "tenants[0].limits": RATES}),
    ):
        print(f"memory, {name}: {told(await rounds(MemoryStore(), table(changes), count, call()))}", flush=True)


async def redis(count: int) -> None:
    """From slices, and where every request asks."""
    with Redis() as server:
        tasks = TaskGroup("cost")
        line = Counting(Address.parse(server.url), SCRIPT, 5.0, lambda: None)
        store = RedisStore(line, name="cost", workers=4)
        tasks.spawn("line", line.keep())
        tasks.spawn("store", store.work())
        await until(lambda: line.connected)
        await open_epoch(line, store)
        await until(lambda: line.up)
        small = [{"window": "day", "tokens": 100_000_000, "usd": 10_000}]
        for name, changes in (("from slices", dict.fromkeys(CHANGES, small)), ("asked each time", {})):
            where = table({**CHANGES, **changes, **({} if changes else {"tenants[0].limits": {"concurrent": 100}})})
            await rounds(store, where, 10, call())
            await asyncio.sleep(0.5)
            line.trips = 0
            cost = told(await rounds(store, where, count, call()))
            trips = line.trips / (count * ROUNDS)
            print(f"redis, {name}: {cost}, {trips:.2f} round trips a request", flush=True)
        await tasks.aclose()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500, help=f"requests in each of {ROUNDS} rounds (500)")
    count = parser.parse_args().count
    spare_collections()  # as the gateway does
    with suppress(KeyboardInterrupt):
        asyncio.run(memory(count))
        asyncio.run(redis(count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
