"""Redis pulled out and put back under load: how long requests take, what they are told, and what readiness says.

    python -m tests.proofs.outages [--seconds N] [--callers N]

Two tenants: one is refused while Redis is away (`closed`), one goes on within what the worker holds (`local_slice`).
Phases: there; killed; there again without its data; stopped in its tracks (SIGSTOP); there again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic

import httpx2

from app.config.service import Stores
from tests.support.gateway import KEY, LIMITED_KEY, Gateway, Json, config, deployment
from tests.support.redis import Redis
from tests.support.upstream import Upstream

KEYS = {"closed": KEY, "local_slice": LIMITED_KEY}
BOUND_S = Stores().limits_timeout + 0.05
"""What an outage may add to the slowest percent of requests: the bounded wait, and as much again for a busy machine."""
_REBUILT_S = 30.0


@dataclass
class Plan:
    """How long each phase lasts, and how many callers each tenant has."""

    seed: int = 1
    callers: int = 16
    seconds: float = 10.0


@dataclass
class Phase:
    """What happened in a phase: statuses and seconds by tenant, and what readiness said of limits in its midst."""

    name: str
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: {name: Counter() for name in KEYS})
    took: list[float] = field(default_factory=list)
    readiness: str = ""
    alive: bool = False

    @property
    def p99(self) -> float:
        """Of all requests, in seconds."""
        return sorted(self.took)[int(len(self.took) * 0.99)] if self.took else 0.0

    def __str__(self) -> str:
        told = "; ".join(
            f"{tenant}: " + ", ".join(f"{count} × {status}" for status, count in sorted(of.items()))
            for tenant, of in self.statuses.items()
        )
        ms = f"p50 {1000 * sorted(self.took)[len(self.took) // 2]:.0f} ms, p99 {1000 * self.p99:.0f} ms"
        return f"{self.name}: {ms}, longest {1000 * max(self.took):.0f} ms; {told}; readiness: {self.readiness}"


@dataclass
class Result:
    """All phases."""

    phases: list[Phase] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Waits are bounded, nothing hangs, every answer is one of those that are promised, readiness is true."""
        there, gone, _, stalled, again = self.phases
        allowed = {"closed": {200, 503}, "local_slice": {200, 503}}
        known = all(set(one.statuses[name]) <= allowed[name] for one in self.phases for name in KEYS)
        quick = all(one.p99 <= there.p99 + BOUND_S for one in (gone, stalled))
        told = (there.readiness, gone.readiness, again.readiness) == ("ok", "not reachable", "ok")
        closed = gone.statuses["closed"][503] > 0 and stalled.statuses["closed"][503] > 0
        went_on = gone.statuses["local_slice"][200] > 0 and stalled.statuses["local_slice"][200] > 0
        back = set(again.statuses["closed"]) == {200}
        return known and quick and told and closed and went_on and back and all(one.alive for one in self.phases)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.phases), "holds" if self.holds else "DOES NOT HOLD"])


class Load:
    """Callers who go on and on; each phase takes what ends in it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.phase = Phase("there")
        self.going = True

    async def caller(self, tenant: str) -> None:
        """One after the other."""
        headers = {"authorization": f"Bearer {KEYS[tenant]}"}
        body = {"model": "echo", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 8}
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
            while self.going:
                begun = monotonic()
                answer = await client.post(f"{self._gateway.url}/v1/chat/completions", json=body, headers=headers)
                self.phase.took.append(monotonic() - begun)
                self.phase.statuses[tenant][answer.status_code] += 1
                await asyncio.sleep(0.02)

    async def last(self, name: str, seconds: float) -> Phase:
        """A phase."""
        self.phase = phase = Phase(name)
        await asyncio.sleep(seconds / 2)
        ready = await asyncio.to_thread(self._gateway.ops, "/readyz", key=None)
        phase.readiness = ready.json()["checks"]["limits"]
        phase.alive = (await asyncio.to_thread(self._gateway.get, "/livez", key=None)).status_code == 200
        await asyncio.sleep(seconds / 2)
        return phase

    async def until_open(self) -> None:
        """Wait until budgets are open again."""
        self.phase = Phase("between")
        end = monotonic() + _REBUILT_S
        while (await asyncio.to_thread(self._gateway.ops, "/readyz", key=None)).json()["checks"]["limits"] != "ok":
            if monotonic() > end:
                raise TimeoutError("budgets stay closed")
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)


def document(upstream: Upstream, redis: Redis) -> Json:
    """Two tenants that differ in what they want while Redis is away."""
    budgets = [{"window": "total", "tokens": 100_000_000}]
    tenants = [
        {
            "name": policy,
            "keys": [{"name": "k", "secret": f"env:{variable}"}],
            "on_store_failure": policy,
            "budgets": budgets,
        }
        for policy, variable in zip(KEYS, ("TEST_KEY", "TEST_LIMITED_KEY"), strict=True)
    ]
    made = config(
        [deployment("d", upstream.url, "echo")], [{"name": "echo", "stable": "d"}], stores={"limits": redis.url}
    )
    return made | {"tenants": tenants}


async def run(plan: Plan) -> Result:
    """All phases, one after the other."""
    result = Result()
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        redis = stack.enter_context(Redis())
        gateway = stack.enter_context(Gateway(document(upstream, redis)))
        load = Load(gateway)
        callers = [asyncio.create_task(load.caller(tenant)) for tenant in KEYS for _ in range(plan.callers)]
        await asyncio.sleep(0.5)
        result.phases.append(await load.last("there", plan.seconds))
        await asyncio.to_thread(redis.kill)
        result.phases.append(await load.last("killed", plan.seconds))
        await asyncio.to_thread(redis.start)
        await load.until_open()
        result.phases.append(await load.last("there, without its data", plan.seconds))
        await asyncio.to_thread(redis.pause)
        result.phases.append(await load.last("stopped in its tracks", plan.seconds))
        await asyncio.to_thread(redis.resume)
        await load.until_open()
        result.phases.append(await load.last("there again", plan.seconds))
        load.going = False
        await asyncio.gather(*callers)
    return result


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=16)
    given = parser.parse_args()
    result = asyncio.run(run(Plan(callers=given.callers, seconds=given.seconds)))
    print(result)
    return 0 if result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
