"""Rollouts that move by themselves: real workers, a real database, real traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, Gateway, Json, config, deployment
from tests.support.postgres import Postgres
from tests.support.traffic import Traffic
from tests.support.upstream import Upstream

QUICK = [
    {"weight": 5, "hold": 1, "min_requests": 10},
    {"weight": 25, "hold": 1, "min_requests": 20},
    {"weight": 100, "hold": 1, "min_requests": 20},
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A real server."""
    with Postgres() as server:
        yield server


def document(upstream: Upstream, database: str, **rollout: Any) -> Json:
    """Two versions of one model, and how the second one takes over."""
    deployments = [deployment("v1", upstream.url, "v1"), deployment("v2", upstream.url, "v2")]
    asked = {"steps": QUICK, "gates": {"error": {}, "slow_first_token": {"seconds": 0.5}}, "horizon": 10, **rollout}
    models = [{"name": "echo", "stable": "v1", "candidate": "v2", "weight": 0, "sticky": "none", "rollout": asked}]
    return config(deployments, models, stores={"database": database})


def admin(gateway: Gateway, path: str, body: Json | None = None, key: str = ADMIN_KEY) -> Json:
    """One call of the admin API; a POST where there is a body."""
    response = gateway.admin(f"/admin/v1/rollouts{path}", body, key=key)
    found: Json = {"status": response.status_code, **response.json()}
    return found


def wait(gateway: Gateway, *states: str, seconds: float = 40) -> Json:
    """The rollout, once it is in one of these states."""
    gateway.until(
        lambda: admin(gateway, "/echo")["state"] in states, seconds=seconds, what=f"the rollout is never {states}"
    )
    return admin(gateway, "/echo")


def test_a_good_candidate_is_promoted(upstream: Upstream, postgres: Postgres) -> None:
    """From 5 to 100 % by itself, by four workers, without an error to a caller; every step has its line in the log."""
    upstream.set(aliases={"v1": "answer-2@1", "v2": "answer-2@2"})
    with (
        Gateway(document(upstream, postgres.url), arguments=["--workers", "4"]) as gateway,
        Traffic(gateway.url, "echo", rate=120) as traffic,
    ):
        assert admin(gateway, "/echo/start", {"reason": "a better one"})["state"] == "running"
        end = wait(gateway, "promoted", "rolled_back", "paused")
        assert end["state"] == "promoted", end
        gateway.until(lambda: gateway.chat().headers["x-sluicegate-arm"] == "candidate")
        assert gateway.value("sluicegate_rollout_weight", deployment="v2") == 100
        steps = [(line["event"], line["weight_before"], line["weight_after"]) for line in reversed(end["log"])]
        assert steps == [("start", 0, 5), ("passed", 5, 25), ("passed", 25, 100), ("passed", 100, 100)]
        assert [line["who"] for line in end["log"]] == ["controller"] * 3 + ["ops"]
    assert not traffic.failures
