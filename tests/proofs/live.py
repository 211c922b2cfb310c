"""A budget under load, live: workers, a real Redis, callers whose bounds together exceed it, failures everywhere.

    python -m tests.proofs.live [--runs N] [--callers N] [--limit N] [--seed N]

A run ends when every caller has been refused several times in a row, then one caller asks for less and less until it is
refused too. Held against the upstream's own log: what it could bill is never more than the budget. In half of the runs
workers are killed with -9; in a quarter Redis is restarted, with and without its data, in turn. In the other runs at
least 95 % of the budget has to be usable.

Usable means: a caller is refused only when what remains is smaller than the bound of his request. Each refusal names
both; what workers held in slices meanwhile is added to what remains. Printed beside it: how much was charged, and by
what (usage that was reported, a cut stream's count and allowance, a bound where nobody knows).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter, deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic

import httpx2

from tests.proofs.crashes import rows
from tests.support.gateway import KEY, Gateway, Json, config, deployment
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.upstream import Upstream
from tests.support.waiting import polled

GOOD = ("answer-200", "answer-400+pace-1ms", "answer-90+ttft-20ms+pace-2ms", "echo")
BAD = ("dies-after-5", "closes", "fail-500", "error-event-after-4", "truncated", "no-usage")
SAMPLED_S = 0.05
PATIENCE = 5
"""Refusals in a row after which a caller gives up."""


@dataclass
class Plan:
    """What a run does. `cap` is `max_tokens` of a call."""

    seed: int
    workers: int = 4
    callers: int = 64
    limit: int = 100_000
    cap: int = 2000
    kill: bool = False
    restart: str = ""  # `data`: Redis comes back with its data; `empty`: without

    @property
    def quiet(self) -> bool:
        """Whether nothing is killed."""
        return not self.kill and not self.restart


@dataclass
class Result:
    """What came of it. `made` is what the upstream could bill, `charged` what the store says was used, in tokens."""

    plan: Plan
    seconds: float = 0.0
    made: int = 0
    charged: int = 0
    kills: int = 0
    restarts: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    refusals: int = 0
    unfounded: int = 0
    """Refusals where what was left, slices included, would have been enough."""
    methods: Counter[str] = field(default_factory=Counter)
    """Tokens charged by the ledger's methods."""

    @property
    def holds(self) -> bool:
        """Whether the run is as it should be."""
        usable = not self.plan.quiet or self.charged >= 0.95 * self.plan.limit
        return self.made <= self.plan.limit and usable and not self.unfounded

    def __str__(self) -> str:
        share = f"{100 * self.made / self.plan.limit:.1f} % made, {100 * self.charged / self.plan.limit:.1f} % charged"
        share += "".join(f", {100 * n / self.plan.limit:.1f} % {name}" for name, n in sorted(self.methods.items()) if n)
        told = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        told += f"; {self.refusals - self.unfounded} of {self.refusals} refusals right"
        what = f"{self.kills} kills, {self.restarts} restarts of redis {self.plan.restart}".rstrip()
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return f"{verdict}: {self.made:,} of {self.plan.limit:,} tokens ({share}); {what}; {told}; {self.seconds:.0f} s"


class Run:
    """One run against a running gateway."""

    def __init__(self, plan: Plan, gateway: Gateway, redis: Redis) -> None:
        self.result = Result(plan)
        self._plan = plan
        self._gateway = gateway
        self._redis = redis
        self._random = Random(plan.seed)
        self._calling = True
        self._slices: deque[tuple[float, int]] = deque(maxlen=400)

    async def go(self) -> None:
        """Load, trouble, and the rest of the budget."""
        trouble, looking = asyncio.create_task(self._trouble()), asyncio.create_task(self._watch_slices())
        await asyncio.gather(*(self._caller() for _ in range(self._plan.callers)))
        self._calling = False
        await trouble
        await self._drain()
        looking.cancel()

    async def _watch_slices(self) -> None:
        """Note what workers hold in slices of the budget, again and again."""
        while True:
            self._slices.append((monotonic(), await asyncio.to_thread(self._in_slices)))
            await asyncio.sleep(SAMPLED_S)

    def _in_slices(self) -> int:
        with suppress(OSError):
            epoch = self._redis.command("GET", "{sluicegate}:epoch").split(b"\r\n")
            if len(epoch) > 1:
                key = f"{{sluicegate}}:{epoch[1].decode()}:everything:total:tokens::0"
                found = self._redis.command("HGET", key, "esc").split(b"\r\n")
                return int(found[1]) if len(found) > 1 and found[1] else 0
        return 0

    async def _caller(self) -> None:
        refused = 0
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
            while refused < PATIENCE:
                status = await self._call(client, self._random.choice(GOOD + BAD), self._plan.cap)
                refused = refused + 1 if status == 429 else 0
                if status in {0, 503}:
                    await asyncio.sleep(0.1)
                elif status == 429:
                    await asyncio.sleep(self._random.uniform(0.05, 0.4))

    async def _drain(self) -> None:
        """Use what is left: an answer of 200 tokens fits as long as its bound does."""
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
            for cap in (1000, 400, 100, 30):
                for _ in range(400):
                    status = await self._call(client, "answer-200", cap, leave=False)
                    if status == 429:
                        break
                    await asyncio.sleep(0.05 if status == 503 else 0)

    async def _call(self, client: httpx2.AsyncClient, model: str, cap: int, *, leave: bool = True) -> int:
        stream = self._random.random() < 0.5
        body = {"model": model, "messages": [{"role": "user", "content": "one two three"}], "max_tokens": cap}
        leaves, begun = leave and self._random.random() < 0.15, monotonic()
        try:
            request = client.build_request(
                "POST",
                f"{self._gateway.url}/v1/chat/completions",
                json={**body, "stream": stream},
                headers={"authorization": f"Bearer {KEY}"},
            )
            answer = await client.send(request, stream=True)
            self.result.statuses[answer.status_code] += 1
            try:
                if leaves and answer.status_code == 200:
                    await asyncio.sleep(self._random.uniform(0, 0.05))
                else:
                    self._look(answer.status_code, await answer.aread(), begun)
            finally:
                await answer.aclose()
        except httpx2.HTTPError:
            return 0
        return answer.status_code

    def _look(self, status: int, body: bytes, begun: float) -> None:
        """A refusal is right: what it says is left, and what lay in slices meanwhile, is less than the bound."""
        if status == 429:
            words = body.decode().partition("may take ")[2].split()
            slices = max((amount for at, amount in self._slices if at >= begun - 2 * SAMPLED_S), default=0)
            self.result.refusals += 1
            if int(words[0]) <= int(words[2]) + slices:
                self.result.unfounded += 1

    async def _trouble(self) -> None:
        if self._plan.restart:
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            await asyncio.to_thread(self._redis.stop)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(self._redis.start)
            self.result.restarts += 1
        while self._plan.kill and self._calling:
            await asyncio.sleep(self._random.uniform(0.2, 1.0))
            with suppress(ProcessLookupError, ValueError):
                os.kill(self._random.choice(list(self._gateway.workers().values())), signal.SIGKILL)
                self.result.kills += 1


def document(plan: Plan, upstream: Upstream, redis: Redis, database: str) -> Json:
    """The gateway's configuration; what fails stands apart, so that it does not take the rest with it."""
    apart = upstream.url.replace("127.0.0.1", "localhost")
    deployments = [deployment(f"to-{name}", upstream.url, name, max_output_tokens=4096) for name in GOOD]
    deployments += [deployment(f"to-{name}", apart, name, max_output_tokens=4096) for name in BAD]
    models: list[Json] = [{"name": name, "stable": f"to-{name}"} for name in GOOD]
    models += [{"name": name, "stable": f"to-{name}", "fallbacks": ["to-echo"]} for name in BAD]
    return config(
        deployments,
        models,
        server={"workers": plan.workers},
        stores={"limits": redis.url, "database": database},
        budgets=[{"window": "total", "tokens": plan.limit}],
    )


async def run(plan: Plan) -> Result:
    """One run, with servers of its own."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        redis = stack.enter_context(Redis(persist=plan.restart == "data"))
        postgres = stack.enter_context(Postgres(durable=True))
        gateway = stack.enter_context(Gateway(document(plan, upstream, redis, postgres.url)))
        one, begun = Run(plan, gateway, redis), monotonic()
        await one.go()
        result = one.result
        await upstream.settled(seconds=20)
        await polled(lambda: _settled(gateway), 60, "the gateway does not settle down")
        [level] = gateway.ops("/admin/v1/budgets").json()["data"]
        result.charged = level["used"]
        log = [record for record in upstream.log() if record["path"] == "/v1/chat/completions"]
        result.made = sum(record["made"] + record["prompt_tokens"] for record in log if record["status"] == 200)
        for row in await rows(postgres.url):
            result.methods[row["method"]] += row["charged_tokens"]
        result.seconds = monotonic() - begun
    return result


def _settled(gateway: Gateway) -> bool:
    """Whether nothing is held any more: killed workers' reservations are, until their leases end."""
    answer = gateway.ops("/admin/v1/budgets")
    return answer.status_code == 200 and gateway.value("sluicegate_in_flight") == 0


def plans(runs: int, seed: int, callers: int, limit: int) -> list[Plan]:
    """Kills in every second run, restarts in every fourth, with and without the data in turn."""
    made = []
    for index in range(runs):
        restart = ("data", "empty")[index // 4 % 2] if index % 4 == 1 else ""
        made.append(Plan(seed + index, callers=callers, limit=limit, kill=index % 2 == 1, restart=restart))
    return made


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    results = []
    for plan in plans(given.runs, given.seed, given.callers, given.limit):
        results.append(asyncio.run(run(plan)))
        print(results[-1], flush=True)
    quiet = [100 * one.charged / one.plan.limit for one in results if one.plan.quiet]
    print(f"{sum(one.holds for one in results)} of {len(results)} runs hold.")
    print(f"Most that the upstream made: {max(one.made / one.plan.limit for one in results):.2%} of the budget.")
    if quiet:
        asked = sum(one.refusals for one in results if one.plan.quiet)
        wrong = sum(one.unfounded for one in results if one.plan.quiet)
        print(f"In the {len(quiet)} runs without trouble: {min(quiet):.1f} % charged at least;")
        print(f"{wrong} of {asked} refusals came while what remained was as large as the request's bound.")
    return 0 if all(one.holds for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
