"""Rollouts before real traffic: four workers, PostgreSQL, Redis, the fake upstream. Prints how each ends, and its log.

.venv/bin/python -m scripts.rollout_live
"""

from __future__ import annotations

import time
from typing import Any

from tests.support.gateway import Gateway, Json, config, deployment
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.traffic import Traffic
from tests.support.upstream import Upstream

STEPS = [
    {"weight": 1, "hold": 5, "min_requests": 5},
    {"weight": 5, "hold": 5, "min_requests": 20},
    {"weight": 25, "hold": 5, "min_requests": 20},
    {"weight": 50, "hold": 5, "min_requests": 20},
    {"weight": 100, "hold": 5, "min_requests": 20},
]
GATES = {"error": {}, "slow_first_token": {"seconds": 0.5}, "harm": {}, "refusal": {}, "truncated": {}}
GUARD = {
    "name": "default",
    "blocklist": ["bucket"],
    "completion": {"detectors": ["rules"], "actions": {"blocklist": "block"}},
}
"""The fake upstream's longer answers have this word in them; the guard cuts them off there."""
RUNS = (
    ("a good candidate", None),
    ("errors from 25 % on: every second request", "flaky-2-500+answer-2"),
    ("slow first tokens from 25 % on", "answer-2+ttft-1.5s"),
    ("harmful answers from 25 % on", "answer-40"),
    ("refusals from 25 % on", "refusal"),
    ("dead from the first second", "dead"),
)


def document(upstream: Upstream, database: str, limits: str, *, dead: bool) -> Json:
    """Two versions of one model."""
    second = "http://127.0.0.1:9" if dead else upstream.url
    deployments = [deployment("v1", upstream.url, "v1"), deployment("v2", second, "v2")]
    rollout = {"steps": STEPS, "gates": GATES, "horizon": 10}
    models = [{"name": "echo", "stable": "v1", "candidate": "v2", "weight": 0, "sticky": "none", "rollout": rollout}]
    models[0]["guard"] = "default"
    return config(deployments, models, guards=[GUARD], stores={"database": database, "limits": limits})


def show(gateway: Gateway) -> dict[str, Any]:
    """Where it is."""
    found: dict[str, Any] = gateway.admin("/admin/v1/rollouts/echo").json()
    return found


def run(name: str, becomes: str | None, upstream: Upstream, stores: tuple[str, str]) -> None:
    """One rollout from its start to its end; `stores` are the addresses of PostgreSQL and Redis."""
    upstream.set(aliases={"v1": "answer-2@1", "v2": "answer-2@2"})
    with (
        Gateway(document(upstream, *stores, dead=becomes == "dead"), arguments=["--workers", "4"]) as gateway,
        Traffic(gateway.url, "echo", rate=100, stream=True, connections=32) as traffic,
    ):
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        gateway.admin("/admin/v1/rollouts/echo/start", {})
        began, turned = time.monotonic(), 0.0
        while (where := show(gateway))["state"] == "running" and time.monotonic() < began + 120:
            if becomes not in {None, "dead"} and not turned and where["weight"] == 25:
                upstream.set(aliases={"v1": "answer-2@1", "v2": str(becomes)})
                turned = time.monotonic()
            time.sleep(0.2)
        ended = time.monotonic()
        gateway.until(lambda: gateway.value("sluicegate_rollout_weight", deployment="v2") in {0, 100}, seconds=10)
    print(f"\n{name}: {where['state']} after {ended - began:.1f} s", end="")
    print(f", {ended - turned:.1f} s after it turned" if turned else "")
    print(f"  answers: {dict(traffic.answers)}; failures that callers saw: {sum(traffic.failures.values())}")
    for line in reversed(where["log"]):
        print(f"  {line['event']:<8} {line['weight_before']:g} → {line['weight_after']:g} %  {line['reason']}")


def main() -> None:
    """All of them, each in a database of its own."""
    with Upstream() as upstream:
        for name, becomes in RUNS:
            with Postgres() as database, Redis() as limits:
                run(name, becomes, upstream, (database.url, limits.url))


if __name__ == "__main__":
    main()
