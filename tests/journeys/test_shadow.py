"""Copies to a shadow, through the running gateway: what they tell, what they cost, and that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from tests.support.gateway import KEY, Gateway, Json, config, deployment
from tests.support.upstream import Upstream

BUDGET = {"window": "total", "usd": 5}
GUARD = {
    "name": "default",
    "blocklist": ["bucket"],
    "completion": {"detectors": ["rules"], "actions": {"blocklist": "block"}},
}
"""The fake upstream's longer answers have this word in them."""


def document(url: str, **shadow: Any) -> Json:
    """A model with a shadow that gets every request; a second tenant that does not want that."""
    deployments = [
        deployment("main", url, "echo"),
        deployment("other", url, "echo@other"),
        deployment("hanging", url, "hangs"),
        deployment("broken", url, "fail-503+retry-after-0"),
        deployment("wordy", url, "answer-40"),
    ]
    asked = {"to": "other", "sample": 1, "max_concurrent": 8, "budget": BUDGET, **shadow}
    model = {"name": "echo", "stable": "main", "guard": "default", "shadow": asked}
    made = config(deployments, [model], guards=[GUARD])
    secret = {"name": "quiet", "secret": "env:TEST_QUIET_KEY"}
    made["tenants"].append({"name": "quiet", "keys": [secret], "allow_shadow": False})
    return made


Start = Callable[..., Gateway]


@pytest.fixture
def start(upstream: Upstream) -> Iterator[Start]:
    """Starts a gateway with such a shadow."""
    running: list[Gateway] = []

    def begin(**shadow: Any) -> Gateway:
        gateway = Gateway(document(upstream.url, **shadow))
        gateway.environ["TEST_QUIET_KEY"] = "sk-quiet"
        running.append(gateway.__enter__())
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        return gateway

    yield begin
    for gateway in running:
        gateway.__exit__(None, None, None)


def copies(gateway: Gateway, result: str) -> float:
    """How many copies came to this."""
    return gateway.value("sluicegate_shadow_copies_total", result=result)


def report(gateway: Gateway) -> list[Json]:
    """What the report says."""
    found: list[Json] = gateway.admin("/admin/v1/rollouts/echo/shadow-report").json()["pairs"]
    return found


@pytest.mark.timeout(150)
def test_copies_are_compared_and_counted_apart(start: Start, upstream: Upstream) -> None:
    """Streams and plain answers; the caller's metrics, usage and headers know nothing of them."""
    gateway = start()
    for stream in (False, True, False):
        answer = gateway.chat(stream=stream)
        assert (answer.status_code, answer.headers["x-sluicegate-deployment"]) == (200, "main")
    assert gateway.chat(key="sk-quiet").status_code == 200
    gateway.until(lambda: copies(gateway, "ok") == 3)
    gateway.until(lambda: bool(report(gateway)) and report(gateway)[0]["comparisons"] == 3)
    [pair] = report(gateway)
    assert (pair["primary"], pair["shadow"], pair["both_answered"]) == ("main", "other", 3)
    assert pair["similarity"]["p50"] == 1.0
    assert pair["shadow_usd"] == pytest.approx(pair["primary_usd"])
    assert pair["refused"] == {"compared": 3, "only_primary": 0, "only_shadow": 0}
    assert sum(line["model"] == "echo@other" for line in upstream.log()) == 3
    assert gateway.outcomes() == {"ok": 4}
    assert gateway.value("sluicegate_upstream_attempts_total", arm="shadow", result="ok") == 3
    assert gateway.value("sluicegate_requests_total", arm="shadow") == 0
    assert gateway.value("sluicegate_shadow_cost_usd_total", deployment="other") == pytest.approx(pair["shadow_usd"])
    assert gateway.value("sluicegate_shadow_in_flight") == 0

    def rows() -> list[Json]:
        found: list[Json] = gateway.ops("/admin/v1/usage?by=tenant,arm").json()["data"]
        return found

    gateway.until(lambda: sum(row["requests"] for row in rows()) == 7)
    assert {(row["tenant"], row["arm"]): row["requests"] for row in rows()} == {
        ("-", "shadow"): 3,
        ("team", "stable"): 3,
        ("quiet", "stable"): 1,
    }
    own = gateway.get("/v1/usage").json()["data"]
    assert sum(row["requests"] for row in own) == 3


@pytest.mark.timeout(150)
def test_harm_flips(start: Start) -> None:
    """The shadow would have said what the guard forbids; then the caller's own answer is cut off as well."""
    gateway = start(to="wordy")
    assert gateway.chat().status_code == 200
    gateway.until(lambda: copies(gateway, "ok") == 1)
    assert gateway.chat(text="not one bucket").json()["choices"][0]["finish_reason"] == "content_filter"
    gateway.until(lambda: bool(report(gateway)) and report(gateway)[0]["comparisons"] == 2)
    [pair] = report(gateway)
    assert pair["harm"] == {"compared": 2, "only_primary": 0, "only_shadow": 1}
    assert gateway.value("sluicegate_shadow_flips_total", what="harm") == 1
    assert gateway.value("sluicegate_guard_hits_total", category="blocklist") == 1


@pytest.mark.timeout(150)
def test_a_shadow_that_fails_is_asked_once(start: Start, upstream: Upstream) -> None:
    """Its answer is a difference, no error of anybody; there is no retry and no fallback."""
    gateway = start(to="broken")
    assert gateway.chat().status_code == 200
    gateway.until(lambda: copies(gateway, "upstream_error") == 1)
    gateway.until(lambda: bool(report(gateway)))
    assert (report(gateway)[0]["primary_ok"], report(gateway)[0]["shadow_ok"]) == (1, 0)
    assert gateway.value("sluicegate_shadow_flips_total", what="status") == 1
    assert sum(line["model"].startswith("fail-503") for line in upstream.log()) == 1
    assert gateway.outcomes() == {"ok": 1}


@pytest.mark.timeout(150)
def test_a_shadow_that_hangs_holds_nobody(start: Start) -> None:
    """Its places are taken, further copies are dropped and counted; what runs ends with the gateway."""
    gateway = start(to="hanging", max_concurrent=2)
    for _ in range(10):
        assert gateway.chat().status_code == 200
    assert copies(gateway, "dropped_busy") == 8
    assert gateway.value("sluicegate_shadow_in_flight") == 2


@pytest.mark.timeout(150)
def test_a_budget_of_its_own(start: Start, upstream: Upstream) -> None:
    """Once it is spent no copy is made; callers go on."""
    gateway = start(budget={"window": "total", "tokens": 1200})
    body = orjson.dumps({"model": "echo", "max_tokens": 400, "messages": [{"role": "user", "content": "x " * 100}]})
    for _ in range(6):
        assert gateway.post("/v1/chat/completions", body, key=KEY).status_code == 200
        gateway.until(lambda: gateway.value("sluicegate_shadow_in_flight") == 0)
    made, dropped = copies(gateway, "ok"), copies(gateway, "dropped_budget")
    assert made + dropped == 6
    assert made >= 1
    assert dropped >= 1
    assert sum(line["model"] == "echo@other" for line in upstream.log()) == made
