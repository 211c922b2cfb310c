"""Rollouts that move by themselves: real workers, a real database, real traffic.

One worker on SQLite is tried always; four workers on PostgreSQL take their time, and CI.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from app.stores.sql import engine
from app.stores.tables import LEASES
from tests.support.gateway import ADMIN_KEY, Gateway, Json, config, deployment
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.traffic import Traffic
from tests.support.upstream import Upstream

QUICK = [
    {"weight": 5, "hold": 1, "min_requests": 10},
    {"weight": 25, "hold": 1, "min_requests": 20},
    {"weight": 100, "hold": 1, "min_requests": 20},
]


GUARD = {
    "name": "default",
    "blocklist": ["bucket"],
    "completion": {"detectors": ["rules"], "actions": {"blocklist": "block"}},
}
"""The fake upstream's longer answers have this word in them."""
Stores = dict[str, str]


@pytest.fixture
def stores() -> Iterator[Stores]:
    """A real PostgreSQL and a real Redis, new for each test: a rollout's log is then all that was ever done."""
    with Postgres() as database, Redis() as limits:
        yield {"database": database.url, "limits": limits.url}


def document(upstream: Upstream, stores: Stores | None = None, **rollout: Any) -> Json:
    """Two versions of one model, and how the second one takes over."""
    deployments = [deployment("v1", upstream.url, "v1"), deployment("v2", upstream.url, "v2")]
    gates = {"error": {}, "slow_first_token": {"seconds": 0.5}, "harm": {}}
    asked = {"steps": QUICK, "gates": gates, "horizon": 10, **rollout}
    model = {"name": "echo", "stable": "v1", "candidate": "v2", "weight": 0, "sticky": "none", "rollout": asked}
    sections = {"stores": stores} if stores else {}
    return config(deployments, [{**model, "guard": "default"}], guards=[GUARD], **sections)


def admin(gateway: Gateway, path: str, body: Json | None = None, key: str = ADMIN_KEY) -> Json:
    """One call of the admin API; a POST where there is a body."""
    response = gateway.admin(f"/admin/v1/rollouts{path}", body, key=key)
    found: Json = {"status": response.status_code, **response.json()}
    return found


def ready(gateway: Gateway) -> None:
    """Wait until the database is there."""
    gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)


def wait(gateway: Gateway, *states: str, seconds: float = 40) -> Json:
    """The rollout, once it is in one of these states."""
    gateway.until(
        lambda: admin(gateway, "/echo")["state"] in states, seconds=seconds, what=f"the rollout is never {states}"
    )
    return admin(gateway, "/echo")


@pytest.mark.timeout(150)
def test_up_and_back_on_one_worker(upstream: Upstream) -> None:
    """A good candidate is promoted; started again and gone bad, it is rolled back. Callers see no error."""
    upstream.set(aliases={"v1": "answer-2@1", "v2": "answer-2@2"})
    steps = [{"weight": 20, "hold": 0.5, "min_requests": 5}, {"weight": 100, "hold": 0.5, "min_requests": 5}]
    with Gateway(document(upstream, steps=steps)) as gateway:
        ready(gateway)
        with Traffic(gateway.url, "echo", rate=60) as traffic:
            admin(gateway, "/echo/start", {})
            assert wait(gateway, "promoted", "rolled_back", "paused", seconds=90)["state"] == "promoted"
            upstream.set(aliases={"v1": "answer-2@1", "v2": "fail-500"})
            admin(gateway, "/echo/start", {})
            end = wait(gateway, "promoted", "rolled_back", "paused", seconds=90)
            assert end["state"] == "rolled_back", end
            assert end["log"][0]["evidence"][0]["candidate_bad"] >= 2
    assert not traffic.failures


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_good_candidate_is_promoted(upstream: Upstream, stores: Stores) -> None:
    """From 5 to 100 % by itself, by four workers, without an error to a caller; every step has its line in the log."""
    upstream.set(aliases={"v1": "answer-2@1", "v2": "answer-2@2"})
    with (
        Gateway(document(upstream, stores), arguments=["--workers", "4"]) as gateway,
        Traffic(gateway.url, "echo", rate=120) as traffic,
    ):
        ready(gateway)
        assert admin(gateway, "/echo/start", {"reason": "a better one"})["state"] == "running"
        end = wait(gateway, "promoted", "rolled_back", "paused")
        assert end["state"] == "promoted", end
        gateway.until(lambda: gateway.chat().headers["x-sluicegate-arm"] == "candidate")
        assert gateway.value("sluicegate_rollout_weight", deployment="v2") == 100
        steps = [(line["event"], line["weight_before"], line["weight_after"]) for line in reversed(end["log"])]
        assert steps == [("start", 0, 5), ("passed", 5, 25), ("passed", 25, 100), ("passed", 100, 100)]
        assert [line["who"] for line in end["log"]] == ["controller"] * 3 + ["ops"]
    assert not traffic.failures


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("becomes", "gate"),
    [("flaky-2-500+answer-2", "error"), ("answer-2+ttft-1.5s", "slow_first_token"), ("answer-40", "harm")],
    ids=["errors", "slow first tokens", "harmful answers"],
)
def test_a_candidate_that_turns_bad_is_rolled_back(upstream: Upstream, stores: Stores, becomes: str, gate: str) -> None:
    """At 25 %, by itself; the log explains it with its evidence, and callers saw no error: stable rescued them."""
    upstream.set(aliases={"v1": "answer-2@1", "v2": "answer-2@2"})
    steps = [*QUICK[:1], {"weight": 25, "hold": 60, "min_requests": 20}, 100]
    with (
        Gateway(document(upstream, stores, steps=steps), arguments=["--workers", "4"]) as gateway,
        Traffic(gateway.url, "echo", rate=80, stream=True, connections=24) as traffic,
    ):
        ready(gateway)
        admin(gateway, "/echo/start", {})
        gateway.until(lambda: admin(gateway, "/echo")["weight"] == 25, seconds=40)
        upstream.set(aliases={"v1": "answer-2@1", "v2": becomes})
        end = wait(gateway, "promoted", "rolled_back", "paused")
        assert (end["state"], end["weight"], end["alarmed"]) == ("rolled_back", 0, True), end
        last = end["log"][0]
        assert (last["who"], last["event"], last["weight_before"]) == ("controller", "failed", 25)
        [told] = [one for one in last["evidence"] if one["alarm"]]
        assert told["gate"] == gate
        assert told["peak"] >= told["needed"]
        assert f"{gate}: evidence" in last["reason"]
        assert f"candidate {told['candidate_bad']} of {told['candidate']} bad" in last["reason"]
        seen = traffic.served("candidate")
        gateway.until(lambda: gateway.value("sluicegate_rollout_weight", deployment="v2") == 0)
        gateway.until(lambda: not upstream.stats()["running"])
        before = traffic.served("candidate")
        gateway.until(lambda: sum(traffic.answers.values()) > seen + 200)
        assert traffic.served("candidate") <= before + 24
    assert not traffic.failures


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_dead_candidate_is_out_at_once(upstream: Upstream, stores: Stores) -> None:
    """Down from the first second: rolled back within 12 of its requests, and no caller noticed."""
    upstream.set(aliases={"v1": "answer-2@1"})
    settings = document(upstream, stores)
    settings["deployments"][1] = deployment("v2", "http://127.0.0.1:9", "v2")
    with (
        Gateway(settings, arguments=["--workers", "4"]) as gateway,
        Traffic(gateway.url, "echo", rate=60) as traffic,
    ):
        ready(gateway)
        admin(gateway, "/echo/start", {})
        end = wait(gateway, "rolled_back", "paused", "promoted")
        assert end["state"] == "rolled_back", end
        gateway.until(lambda: gateway.value("sluicegate_rollout_weight", deployment="v2") == 0)
    assert not traffic.failures
    assert 0 < traffic.served("fallback") <= 12


def holder(database: str) -> int:
    """The process that acts on rollouts."""

    async def look() -> str:
        opened = engine(database)
        try:
            async with opened.connect() as connection:
                return str((await connection.execute(select(LEASES.c.holder))).scalar_one())
        finally:
            await opened.dispose()

    return int(asyncio.run(look()).split(".")[0])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_controller_is_killed_in_every_state(upstream: Upstream, stores: Stores) -> None:
    """Running at each step, paused, ready: another worker goes on; no step is lost, none is done twice."""
    upstream.set(aliases={"v1": "answer-2@1", "v2": "answer-2@2"})
    with (
        Gateway(document(upstream, stores, mode="manual"), arguments=["--workers", "4"]) as gateway,
        Traffic(gateway.url, "echo", rate=80) as traffic,
    ):
        ready(gateway)

        def kill() -> None:
            victim = holder(stores["database"])
            os.kill(victim, signal.SIGKILL)
            gateway.until(lambda: holder(stores["database"]) != victim, seconds=40)

        admin(gateway, "/echo/start", {})
        after = admin(gateway, "/echo")
        for weight in (5, 25, 100):
            gateway.until(lambda: admin(gateway, "/echo")["gates"] != [], seconds=40)
            kill()
            admin(gateway, "/echo/pause", {})
            kill()
            admin(gateway, "/echo/resume", {})
            assert wait(gateway, "ready")["weight"] == weight
            kill()
            after = admin(gateway, "/echo/advance", {})
        assert after["state"] == "promoted"
        log = admin(gateway, "/echo")["log"][::-1]
        for line, following in pairwise(log):
            assert (following["state_before"], following["weight_before"]) == (
                line["state_after"],
                line["weight_after"],
            )
        by_people = Counter(line["event"] for line in log if line["who"] == "ops")
        assert by_people == {"start": 1, "pause": 3, "resume": 3, "advance": 3}
        assert {line["event"] for line in log if line["who"] != "ops"} == {"awaits"}
    served = {status for status, _ in traffic.answers}
    assert served <= {200, 0}, traffic.answers
