"""A candidate beside stable, through the running gateway: whose requests it gets, what its failures do, who may pin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import sqrt

import orjson
import pytest

from tests.support.gateway import KEY, LIMITED_KEY, Gateway, Json, config, deployment
from tests.support.upstream import Upstream

USERS = 300


def document(url: str, weight: float) -> Json:
    """Models with a candidate that is good, one that fails; both keys may use them, the main one may pin."""
    deployments = [
        deployment("v1", url, "answer-2@v1"),
        deployment("v2", url, "answer-2@v2"),
        deployment("broken", url, "fail-500"),
    ]
    models = [
        {"name": "echo", "stable": "v1", "candidate": "v2", "weight": weight},
        {"name": "risky", "stable": "v1", "candidate": "broken", "weight": 100},
    ]
    made = config(deployments, models)
    made["tenants"][0]["keys"][0]["pin"] = True
    return made


@pytest.fixture
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    """A gateway that sends a tenth to the candidate."""
    with Gateway(document(upstream.url, 10)) as running:
        yield running


def arms(gateway: Gateway, users: int) -> dict[int, str]:
    """The arm of each user."""
    return {user: gateway.chat(user=f"user-{user}").headers["x-sluicegate-arm"] for user in range(users)}


def ask(gateway: Gateway, headers: Mapping[str, str], key: str = KEY, model: str = "echo") -> tuple[int, str, str]:
    """Status, deployment and arm of one request."""
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    answer = gateway.post("/v1/chat/completions", body, key=key, headers=headers)
    return (
        answer.status_code,
        answer.headers.get("x-sluicegate-deployment", ""),
        answer.headers.get("x-sluicegate-arm", ""),
    )


def test_users_keep_their_arm_and_few_move(gateway: Gateway, upstream: Upstream) -> None:
    """From 10 to 20 % by a reload: nobody leaves the candidate, and its share is the weight's."""
    before = arms(gateway, USERS)
    gateway.write(document(upstream.url, 20))
    assert gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] == "changed"
    after = arms(gateway, USERS)
    assert {user for user, arm in before.items() if arm == "candidate"} <= {
        user for user, arm in after.items() if arm == "candidate"
    }
    for found, share in ((before, 0.1), (after, 0.2)):
        assert abs(Counter(found.values())["candidate"] - USERS * share) <= 4 * sqrt(USERS * share * (1 - share))
    assert gateway.value("sluicegate_requests_total", arm="candidate", deployment="v2") == sum(
        Counter(found.values())["candidate"] for found in (before, after)
    )


def test_a_failure_of_the_candidate_is_rescued_by_stable(gateway: Gateway) -> None:
    """The caller sees stable's answer; the attempt counts against the candidate."""
    assert ask(gateway, {}, model="risky") == (200, "v1", "fallback")
    assert gateway.value("sluicegate_upstream_attempts_total", deployment="broken", arm="candidate", result="500") == 1


def test_the_headers(gateway: Gateway) -> None:
    """Affinity keeps to one arm; a pin chooses; without permission it is refused."""
    assert len({ask(gateway, {"x-sluicegate-affinity": "session-1"}) for _ in range(5)}) == 1
    assert ask(gateway, {"x-sluicegate-pin": "v2"}) == (200, "v2", "candidate")
    assert ask(gateway, {"x-sluicegate-pin": "v1"}) == (200, "v1", "stable")
    assert ask(gateway, {"x-sluicegate-pin": "broken"})[0] == 400
    assert ask(gateway, {"x-sluicegate-pin": "broken"}, model="risky")[0] == 500 + 2
    assert ask(gateway, {"x-sluicegate-pin": "v2"}, key=LIMITED_KEY)[0] == 403
