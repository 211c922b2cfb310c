"""Budgets and limits as callers and operators meet them: a running gateway, a real Redis, the upstream's own log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from tests.proofs import live, outages
from tests.support.gateway import KEY, LIMITED_KEY, Gateway, Json, one_each
from tests.support.redis import Redis
from tests.support.upstream import Upstream

MODELS = ["answer-20", "answer-8", "slow-300ms"]


def document(url: str, everything: list[Json] | None = None, **tenant: Any) -> Json:
    """One tenant with these settings; budgets of everything. Answers may be longer than the budgets of these tests."""
    made = one_each(url, MODELS, max_output_tokens=4096, sections={"budgets": everything or []})
    made["tenants"][0].update(tenant)
    return made


@pytest.fixture
def clamped(upstream_process: Upstream) -> Iterator[Gateway]:
    """A tenant with a small budget that clamps, and rates."""
    limits = {"requests_per_minute": 600, "tokens_per_minute": 100_000}
    budgets = [{"window": "day", "tokens": 1000}]
    made = document(upstream_process.url, on_over_budget="clamp", limits=limits, budgets=budgets)
    with Gateway(made) as running:
        yield running


def test_a_budget_is_used_to_its_end_and_outlives_a_crash(clamped: Gateway, upstream: Upstream) -> None:
    """The cap is lowered, and the caller told; then 429; after kill -9 nothing is forgotten."""
    gateway = clamped
    whole = gateway.chat("answer-20", max_tokens=400)
    assert "x-sluicegate-budget" not in whole.headers
    assert whole.headers["x-ratelimit-limit-requests"] == "600"
    assert whole.headers["x-ratelimit-remaining-requests"] == "599"
    assert whole.headers["x-ratelimit-reset-requests"] == "100ms"
    assert int(whole.headers["x-ratelimit-remaining-tokens"]) < 100_000
    lowered = gateway.chat("answer-20", max_tokens=2000)
    assert lowered.status_code == 200
    action, _, cap = lowered.headers["x-sluicegate-budget"].partition("; max_tokens=")
    assert (action, 64 < int(cap) < 1000) == ("clamp", True)
    statuses = [gateway.chat("answer-20", max_tokens=200).status_code for _ in range(60)]
    assert statuses[-1] == 429
    refused = gateway.chat("answer-20", max_tokens=200)
    assert refused.json()["error"]["code"] == "budget_exceeded"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert made(upstream) <= 1000
    [level] = gateway.ops("/admin/v1/budgets").json()["data"]
    assert (level["scope"], level["used"], level["reserved"]) == ("tenant:team", made(upstream), 0)
    gateway.crash()
    assert gateway.chat("answer-20", max_tokens=200).status_code == 429
    assert gateway.ops("/admin/v1/budgets").json()["data"][0]["used"] == level["used"]


def spend(gateway: Gateway, key: str) -> list[int]:
    """What forty requests are answered with a key that was just made; a Redis that is new opens after ten seconds."""
    gateway.until(lambda: gateway.chat("answer-20", key=key, max_tokens=200).status_code not in (401, 503), seconds=30)
    return [gateway.chat("answer-20", key=key, max_tokens=200).status_code for _ in range(40)]


@pytest.mark.parametrize("store", ["memory", pytest.param("redis", marks=pytest.mark.slow)])
def test_a_budget_that_was_made_through_the_admin_api_outlives_a_crash(upstream_process: Upstream, store: str) -> None:
    """Also one of a key's own, and with Redis where that has lost everything too."""
    with ExitStack() as stack:
        redis = stack.enter_context(Redis()) if store == "redis" else None
        limits = "memory" if redis is None else f"redis://127.0.0.1:{redis.port}/0"
        settings = document(upstream_process.url, [{"window": "total", "tokens": 10**9}] if redis is not None else None)
        gateway = stack.enter_context(Gateway(settings | {"stores": {"limits": limits}}))
        tenant = {"name": "made", "budgets": [{"window": "total", "tokens": 1000}]}
        assert gateway.admin("/admin/v1/tenants", tenant).status_code == 201
        budgets = {"budgets": [{"window": "total", "tokens": 600}]}
        own, other = (
            gateway.admin("/admin/v1/keys", {"tenant": "made", "name": name, **more}).json()["secret"]
            for name, more in (("own", budgets), ("other", {}))
        )
        for key in (own, other):
            statuses = spend(gateway, key)
            assert (set(statuses), statuses[-1]) == ({200, 429}, 429)
        used = {one["scope"]: one["used"] for one in gateway.ops("/admin/v1/budgets").json()["data"]}
        assert 200 < used["key:made/own"] <= 600
        assert 600 < used["tenant:made"] <= 1000
        if redis is not None:
            redis.command("FLUSHALL")
        gateway.crash()
        gateway.until(lambda: gateway.chat("answer-20", key=own, max_tokens=200).status_code == 429, seconds=30)
        assert {gateway.chat("answer-20", key=key, max_tokens=200).status_code for key in (own, other)} == {429}
        again = {one["scope"]: one["used"] for one in gateway.ops("/admin/v1/budgets").json()["data"]}
        assert again == used


def made(upstream: Upstream) -> int:
    """What the upstream could bill, in tokens."""
    return sum(one["made"] + one["prompt_tokens"] for one in upstream.log() if one["status"] == 200)


def test_rates_and_places(upstream: Upstream) -> None:
    """Requests a minute and at a time, for a tenant's keys together; a refusal says when to come back."""
    limits = {"requests_per_minute": 3, "concurrent": 2}
    with Gateway(document(upstream.url, limits=limits)) as gateway:
        assert [gateway.chat("answer-8", key=key).status_code for key in (KEY, KEY)] == [200, 200]
        assert gateway.chat("echo", key=LIMITED_KEY).status_code == 200
        refused = gateway.chat("answer-8")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert gateway.outcomes()["refused_limit"] == 1


def test_a_limit_changes_while_it_runs(upstream: Upstream) -> None:
    """What was used stays used; a lowered limit refuses the next request, a raised one lets it in."""
    with Gateway(document(upstream.url, [{"window": "total", "tokens": 5000}])) as gateway:
        assert gateway.chat("answer-20", max_tokens=100).status_code == 200
        for tokens, status in ((50, 429), (6000, 200)):
            gateway.write(document(upstream.url, [{"window": "total", "tokens": tokens}]))
            assert gateway.ops("/admin/v1/config/reload", method="POST").status_code == 200
            assert gateway.chat("answer-20", max_tokens=100).status_code == status


def test_embeddings_and_many_choices_are_bounded(upstream: Upstream) -> None:
    """A batch reserves its prompts only; 128 choices reserve 128 answers."""
    with Gateway(document(upstream.url, [{"window": "total", "tokens": 3000}])) as gateway:
        body = {"model": "echo", "input": ["one two three"] * 50}
        headers = {"authorization": f"Bearer {KEY}"}
        answer = httpx2.post(f"{gateway.url}/v1/embeddings", json=body, headers=headers, trust_env=False, timeout=20)
        assert answer.status_code == 200
        assert gateway.chat("answer-8", n=128, max_tokens=100).status_code == 429
        assert gateway.chat("answer-8", n=16, max_tokens=100).status_code == 200


def test_a_key_with_a_budget_of_its_own(upstream: Upstream) -> None:
    """Made through the admin API; it is refused alone, and revoked within a second."""
    with Gateway(one_each(upstream.url, MODELS)) as gateway:
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
        wanted = {"tenant": "team", "name": "poor", "budgets": [{"window": "month", "tokens": 130}]}
        operator = {"authorization": "Bearer sk-test-admin"}
        url = f"{gateway.ops_url}/admin/v1/keys"
        answer = httpx2.post(url, json=wanted, headers=operator, trust_env=False, timeout=20)
        assert answer.status_code == 201
        secret = answer.json()["secret"]
        assert gateway.chat("answer-8", key=secret, max_tokens=8).status_code == 200
        refused = gateway.chat("answer-8", key=secret, max_tokens=120)
        assert "key 'team poor'" in refused.json()["error"]["message"]
        assert gateway.chat("answer-8", max_tokens=120).status_code == 200
        [level] = gateway.ops("/admin/v1/budgets").json()["data"]
        assert (level["scope"], level["limit"]) == ("key:team/poor", 130)
        gateway.ops(f"/admin/v1/keys/{answer.json()['id']}", method="DELETE")
        begun = time.monotonic()
        gateway.until(lambda: gateway.chat("answer-8", key=secret, max_tokens=8).status_code == 401)
        assert time.monotonic() - begun < 5


@pytest.mark.timeout(120)
def test_workers_share_a_budget(upstream: Upstream) -> None:
    """Two of them, killed at random: what the upstream made stays within it, nobody is refused without a reason."""
    plan = live.Plan(seed=3, workers=2, callers=8, limit=15_000, cap=600, kill=True)
    result = asyncio.run(live.run(plan))
    assert result.holds, str(result)
    assert result.statuses[200] > 5


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_workers_share_a_budget_whatever_happens() -> None:
    """Four workers, Redis restarted without its data, kills; and a quiet run that uses 95 % of its budget."""
    for plan in (live.Plan(seed=5), live.Plan(seed=6, kill=True, restart="empty")):
        result = asyncio.run(live.run(plan))
        assert result.holds, str(result)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_redis_is_pulled_out_and_put_back() -> None:
    """Requests are refused at once, or go on within what is held; readiness tells; all is well again afterwards."""
    result = asyncio.run(outages.run(outages.Plan(seed=1, callers=6, seconds=2.0)))
    assert result.holds, str(result)
