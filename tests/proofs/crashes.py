"""The ledger against the upstream's own log: every request once, through kill -9 and outages of the database.

    python -m tests.proofs.crashes [--kills N] [--outage SECONDS] [--fsync grouped|always]

Load with streams, whole answers, callers who leave and upstreams that fail. Every request that the upstream saw has to
be in the ledger once: exact where the gateway saw its usage, at its bound where it was killed before. Usage has to be
the sum of the ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any

import httpx2
from sqlalchemy import select

from app.stores.sql import Ledger, engine
from app.stores.tables import LEDGER
from app.tasks import TaskGroup
from tests.support.gateway import KEY, Gateway, one_each
from tests.support.postgres import Postgres
from tests.support.upstream import Upstream
from tests.support.waiting import until

MODELS = ["echo", "answer-24+pace-2ms", "answer-8+ttft-20ms", "dies-after-3", "closes", "fail-500"]
CALLERS = 12

Row = dict[str, Any]


class Load:
    """Callers that send one request after the other, leave some early, and remember what they were told."""

    def __init__(self, gateway: Gateway, seed: int) -> None:
        self._gateway = gateway
        self._random = Random(seed)
        self.told: dict[str, tuple[int, int]] = {}
        """Input and output tokens of every whole answer, by request."""
        self.statuses: Counter[int] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load for as long as the block runs; every request has ended afterwards."""
        tasks, self._go_on = TaskGroup("load"), True
        callers = [tasks.spawn("caller", self._call_again()) for _ in range(CALLERS)]
        try:
            yield
        finally:
            self._go_on = False
            await asyncio.gather(*callers)

    async def _call_again(self) -> None:
        async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
            while self._go_on:
                try:
                    await self._call(client)
                except httpx2.HTTPError:
                    await asyncio.sleep(0.02)

    async def _call(self, client: httpx2.AsyncClient) -> None:
        stream, leaves = self._random.random() < 0.5, self._random.random() < 0.1
        body = {
            "model": self._random.choice(MODELS),
            "messages": [{"role": "user", "content": "one two three four"}],
            "max_tokens": 32,
            "stream": stream,
        }
        request = client.build_request(
            "POST",
            f"{self._gateway.url}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {KEY}"},
        )
        answer = await client.send(request, stream=True)
        try:
            self.statuses[answer.status_code] += 1
            if leaves:
                await asyncio.sleep(0.005)
            elif not stream and answer.status_code == 200:
                await answer.aread()
                usage = answer.json()["usage"]
                self.told[answer.headers["x-request-id"]] = usage["prompt_tokens"], usage["completion_tokens"]
            else:
                await answer.aread()
        finally:
            await answer.aclose()


async def rows(url: str) -> list[Row]:
    """The whole ledger."""
    database = engine(url)
    async with database.connect() as connection:
        found = [dict(row) for row in (await connection.execute(select(LEDGER))).mappings()]
    await database.dispose()
    return found


async def reconciled(url: str) -> None:
    """Usage is the sum of the ledger, to the nano-dollar. Nothing may be under way."""
    database = engine(url)
    usage = await Ledger(database).usage(0, 10**6)
    await database.dispose()
    found = await rows(url)
    assert sum(one.sums["charged_nano"] for one in usage) == sum(row["charged_nano"] for row in found)
    assert sum(one.sums["requests"] for one in usage) == len(found)


@dataclass
class Books:
    """What was compared."""

    seen: int
    rows: int
    exact: int
    at_least: int
    bound: int
    nothing: int
    told: int

    def __str__(self) -> str:
        methods = f"{self.exact} exact, {self.at_least} at least, {self.bound} at the bound, {self.nothing} nothing"
        return (
            f"{self.seen} requests reached the upstream, {self.rows} rows ({methods}); 0 missing, 0 twice; "
            f"{self.told} whole answers, each with the usage that its caller was told; usage is the sum of the ledger"
        )


async def compared(url: str, load: Load, upstream: Upstream) -> Books:
    """The ledger, held against what the upstream saw and what callers were told."""
    seen: dict[str, list[Row]] = {}
    for record in upstream.log():
        if record["path"] == "/v1/chat/completions" and record["id"]:
            seen.setdefault(record["id"], []).append(record)
    found: dict[str, Row] = {}
    for _ in range(100):
        found = {row["request_id"]: row for row in await rows(url)}
        if seen.keys() <= found.keys():
            break
        await asyncio.sleep(0.1)
    assert seen.keys() <= found.keys(), f"{len(seen.keys() - found.keys())} requests are missing from the ledger"
    for name, records in seen.items():
        row, made = found[name], sum(one["made"] for one in records if one["status"] == 200)
        assert row["charged_tokens"] >= made, (row, records)
        if row["method"] == "exact":
            assert (row["input_tokens"], row["output_tokens"]) == tuple(records[-1]["reported"]), (row, records)
    for name, (prompt, made) in load.told.items():
        row = found[name]
        assert (row["method"], row["input_tokens"], row["output_tokens"]) == ("exact", prompt, made), row
    await reconciled(url)
    unseen = [row for name, row in found.items() if name not in seen]
    assert all(row["method"] != "exact" for row in unseen), unseen
    methods = Counter(row["method"] for row in found.values())
    exact, at_least, bound, nothing = (methods[name] for name in ("exact", "at_least", "bound", "nothing_sent"))
    return Books(len(seen), len(found), exact, at_least, bound, nothing, len(load.told))


async def killed(upstream: Upstream, times: int, fsync: str) -> Books:
    """So many kills under load."""
    document = one_each(upstream.url, MODELS, sections={"stores": {"spool_fsync": fsync}})
    with Gateway(document) as gateway:
        load, random = Load(gateway, times), Random(times)
        async with load.running():
            for _ in range(times):
                before = len(load.told)
                await until(lambda before=before: len(load.told) > before)  # type: ignore[misc]  # the load has begun
                await asyncio.sleep(random.uniform(0.2, 0.6))
                await asyncio.to_thread(gateway.crash)
            await until(lambda: len(load.told) > times)
        await upstream.settled()
        url = f"sqlite+aiosqlite:///{gateway.config_file.parent}/ledger.db"
        books = await compared(url, load, upstream)
        lost = [row for row in await rows(url) if row["method"] == "bound" and row["outcome"] == "internal_error"]
        assert 0 < len(lost) <= times * CALLERS
    return books


async def outage(upstream: Upstream, seconds: float) -> Books:
    """PostgreSQL away for so long, under load, with a kill in between."""
    with Postgres(durable=True) as server:
        document = one_each(upstream.url, MODELS, sections={"stores": {"database": server.url}})
        with Gateway(document) as gateway:
            load = Load(gateway, 7)
            gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
            async with load.running():
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.stop)
                before = load.statuses.copy()
                await asyncio.sleep(seconds / 2)
                assert load.statuses[200] > before[200]
                await asyncio.to_thread(gateway.crash)
                await asyncio.sleep(seconds / 2)
                gateway.until(lambda: "ok" not in gateway.ops("/readyz").json()["checks"]["ledger"])
                gateway.until(lambda: gateway.ops("/readyz").status_code == 200)  # the upstream is tried again soon
                await asyncio.to_thread(server.start)
            await upstream.settled()
            books = await compared(server.url, load, upstream)
            gateway.until(lambda: gateway.value("sluicegate_database_up") == 1)
    assert load.statuses[503] == 0
    return books


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--outage", type=float, default=60.0)
    parser.add_argument("--fsync", choices=["grouped", "always"], default="grouped")
    given = parser.parse_args()
    for name, work in (("kill -9", given.kills), ("database away, seconds", given.outage)):
        begun = monotonic()
        with Upstream() as upstream:
            run = killed(upstream, int(work), given.fsync) if name == "kill -9" else outage(upstream, work)
            print(f"{name}: {work:g}: {asyncio.run(run)}; {monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
