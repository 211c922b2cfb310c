"""Two hosts share a Redis that loses everything while one of them is dead, with spending that only its spool knows.

    python -m tests.proofs.hosts [--limit N] [--seed N]

Each host is a gateway with a spool of its own; database and Redis are shared. Under load the database goes away, so
that nothing is delivered; one host is killed with -9; Redis is wiped; the database comes back. Budgets have to stay
closed on the other host, which says whom it waits for, until the dead one is back; then callers use what is left, and
the upstream's own log says that no budget was exceeded. At last the second host goes for good, Redis is wiped again,
and an operator forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from time import monotonic

import httpx2
from click.testing import CliRunner

from app.cli import main as sluicegate
from tests.proofs.crashes import rows
from tests.support.gateway import ADMIN_KEY, KEY, LIMITED_KEY, VIEWER_KEY, Gateway, Json, config, deployment
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.upstream import Upstream
from tests.support.waiting import polled

MODELS = ("answer-200", "answer-60+pace-5ms", "echo")
CAP = 400
FENCE_S = 10.0
_ENVIRON = {
    "TEST_KEY": KEY, "TEST_LIMITED_KEY": LIMITED_KEY, "TEST_ADMIN_KEY": ADMIN_KEY, "TEST_VIEWER_KEY": VIEWER_KEY,
}  # fmt: skip


@dataclass
class Result:
    """What came of it, in tokens and seconds. `hidden` is what only the dead host's spool knew of."""

    limit: int
    hidden: int = 0
    made: int = 0
    used: int = 0
    closed_for: float = 0.0
    granted_while_closed: int = 0
    named: bool = False
    opened_after: float = 0.0
    forgotten_after: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing was exceeded, nothing was granted too early, and it opened in the end."""
        closed = self.named and not self.granted_while_closed and self.closed_for > FENCE_S
        return self.hidden > 0 and self.made <= self.limit and self.used >= self.made and closed

    def __str__(self) -> str:
        return (
            f"{'holds' if self.holds else 'DOES NOT HOLD'}: the upstream made {self.made:,} of {self.limit:,} tokens, "
            f"{self.hidden:,} of them known to the dead host's spool alone; the store says {self.used:,}; closed for "
            f"{self.closed_for:.0f} s without it ({self.granted_while_closed} requests granted, it was "
            f"{'named' if self.named else 'NOT NAMED'}); open {self.opened_after:.0f} s after it was back, and "
            f"{self.forgotten_after:.0f} s after it was forgotten"
        )


class Load:
    """Callers of both hosts, who go on until they are refused or told to end."""

    def __init__(self, hosts: list[Gateway], seed: int) -> None:
        self._hosts = hosts
        self._random = Random(seed)
        self.going = True
        self.granted = 0

    async def caller(self, place: int, *, patience: int = 3) -> None:
        """One after the other at one host, until refused so often in a row."""
        refused = 0
        async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
            while self.going and refused < patience:
                try:
                    status = await self._call(client, self._hosts[place])
                except httpx2.HTTPError:
                    status = 0
                self.granted += status == 200
                refused = refused + 1 if status == 429 else 0
                if status != 200:
                    await asyncio.sleep(0.1)

    async def _call(self, client: httpx2.AsyncClient, host: Gateway) -> int:
        stream = self._random.random() < 0.5
        body: Json = {"model": self._random.choice(MODELS), "max_tokens": CAP, "stream": stream}
        body["messages"] = [{"role": "user", "content": "one two three"}]
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await client.post(f"{host.url}/v1/chat/completions", json=body, headers=headers)
        return answer.status_code


def document(limit: int, upstream: Upstream, redis: Redis, database: str) -> Json:
    """A host's configuration; its spool is in its own folder."""
    return config(
        [deployment(f"to-{name}", upstream.url, name) for name in MODELS],
        [{"name": name, "stable": f"to-{name}"} for name in MODELS],
        stores={"limits": redis.url, "database": database},
        budgets=[{"window": "total", "tokens": limit}],
    )


def limits(host: Gateway) -> str:
    """What readiness says of them."""
    return str(host.ops("/readyz", key=None).json()["checks"]["limits"])


def spoken(upstream: Upstream) -> list[Json]:
    """The upstream's own log of what it can bill."""
    return [one for one in upstream.log() if one["path"] == "/v1/chat/completions" and one["status"] == 200]


def made(records: list[Json]) -> int:
    """Tokens of some of it."""
    return sum(one["made"] + one["prompt_tokens"] for one in records)


async def run(limit: int, seed: int) -> Result:
    """The whole story."""
    result = Result(limit)
    with ExitStack() as stack:
        upstream, redis = stack.enter_context(Upstream()), stack.enter_context(Redis())
        server = stack.enter_context(Postgres(durable=True))
        shared = document(limit, upstream, redis, server.url)
        one, other = (stack.enter_context(Gateway(shared)) for _ in range(2))
        for host in (one, other):
            await polled(lambda host=host: limits(host) == "ok", 60, "it does not open")  # type: ignore[misc]
        await _die([one, other], server, redis, seed)
        await _closed(result, one, seed)
        known = {row["request_id"] for row in await rows(server.url)}
        result.hidden = made([record for record in spoken(upstream) if record["id"] not in known])
        await asyncio.to_thread(other.start)
        result.opened_after = await polled(lambda: limits(one) == limits(other) == "ok", 90, "it does not open again")
        load = Load([one, other], seed + 1)
        await asyncio.gather(*(load.caller(place % 2) for place in range(8)))
        await upstream.settled(seconds=20)
        result.made = made(spoken(upstream))
        [level] = one.ops("/admin/v1/budgets").json()["data"]
        result.used = level["used"] + level["reserved"]
        result.forgotten_after = await _forgotten(one, other, redis)
        other.start()  # leaving stops it
    return result


async def _die(hosts: list[Gateway], server: Postgres, redis: Redis, seed: int) -> None:
    """Load; the database goes; the second host is killed; Redis is wiped; the database is back."""
    load = Load(hosts, seed)
    callers = [asyncio.create_task(load.caller(place % 2)) for place in range(8)]
    await asyncio.sleep(1.0)
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(2.0)
    await asyncio.to_thread(hosts[1].kill)
    redis.command("FLUSHALL")
    load.going = False
    await asyncio.gather(*callers)
    await asyncio.to_thread(server.start)


async def _closed(result: Result, host: Gateway, seed: int) -> None:
    """For longer than a rebuild would wait, nothing is granted, and the missing host is named."""
    load, begun = Load([host], seed), monotonic()
    await polled(lambda: limits(host) != "ok", 20, "the loss was not seen")
    callers = [asyncio.create_task(load.caller(0)) for _ in range(4)]
    await polled(lambda: "waiting for" in limits(host), 60, "nobody is waited for")
    result.named = True
    await asyncio.sleep(3.0)
    load.going = False
    await asyncio.gather(*callers)
    result.granted_while_closed = load.granted
    result.closed_for = monotonic() - begun


async def _forgotten(one: Gateway, other: Gateway, redis: Redis) -> float:
    """The second host is gone for good: an operator says so. How long it took to open."""
    await asyncio.to_thread(other.kill)
    redis.command("FLUSHALL")
    await polled(lambda: "waiting for" in limits(one), 60, "nobody is waited for")
    number = limits(one).rpartition("(")[2].rstrip(")")
    cli = CliRunner(env={**os.environ, **_ENVIRON})
    told = await asyncio.to_thread(
        cli.invoke, sluicegate, ["hosts", "forget", "--config", str(one.config_file), number]
    )
    if told.exit_code:
        raise AssertionError(told.output)
    return await polled(lambda: limits(one) == "ok", 60, "it does not open without the host that was forgotten")


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    result = asyncio.run(run(given.limit, given.seed))
    print(result)
    return 0 if result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
