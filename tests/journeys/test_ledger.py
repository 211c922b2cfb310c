"""The ledger against the fake upstream's own log: every request once, through kill -9 and database outages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx2
import pytest
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


async def compared(url: str, load: Load, upstream: Upstream) -> list[Row]:
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
    return list(found.values())


async def killed(upstream: Upstream, times: int, fsync: str) -> None:
    """So many kills under load."""
    document = one_each(upstream.url, MODELS, sections={"stores": {"spool_fsync": fsync}})
    with Gateway(document) as gateway:
        load, random = Load(gateway, times), Random(times)
        async with load.running():
            for _ in range(times):
                await asyncio.sleep(random.uniform(0.2, 0.6))
                await asyncio.to_thread(gateway.crash)
            await until(lambda: len(load.told) > times)
        await upstream.settled()
        found = await compared(f"sqlite+aiosqlite:///{gateway.config_file.parent}/ledger.db", load, upstream)
    lost = [row for row in found if row["method"] == "bound" and row["outcome"] == "internal_error"]
    assert 0 < len(lost) <= times * CALLERS


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fsync", ["grouped", "always"])
async def test_kill_9_under_load_loses_no_request(upstream: Upstream, fsync: str) -> None:
    """Two kills: each request that the upstream saw is there once, exact where its caller was answered."""
    await killed(upstream, 2, fsync)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_fifty_kills_lose_no_request(upstream: Upstream) -> None:
    """The same, fifty times."""
    await killed(upstream, 50, "grouped")


async def outage(upstream: Upstream, seconds: float) -> None:
    """PostgreSQL away for so long, under load, with a kill in between."""
    with Postgres(durable=True) as server:
        document = one_each(upstream.url, MODELS, sections={"stores": {"database": server.url}})
        with Gateway(document) as gateway:
            load = Load(gateway, 7)
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
            await compared(server.url, load, upstream)
            gateway.until(lambda: gateway.value("sluicegate_database_up") == 1)
    assert load.statuses[503] == 0


@pytest.mark.timeout(240)
async def test_requests_do_not_wait_for_the_database(upstream: Upstream) -> None:
    """It is stopped and started again: callers notice nothing, the ledger has every request once."""
    await outage(upstream, 3)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_minute_without_database(upstream: Upstream) -> None:
    """The same for 60 s."""
    await outage(upstream, 60)
