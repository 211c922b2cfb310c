"""Feedback through a real gateway: about one's own answers, in the metrics, and evidence of a rollout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.support.gateway import KEY, LIMITED_KEY, Gateway, config, deployment
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with a model that may roll."""
    url = upstream_process.url
    deployments = [deployment("v1", url, "answer-2@1"), deployment("v2", url, "answer-2@2")]
    gates = {"low_quality": {"below": 0.5}}
    rollout = {"steps": [{"weight": 50, "hold": 600}, 100], "gates": gates}
    models = [
        {"name": "echo", "stable": "v1", "candidate": "v2", "weight": 0, "rollout": rollout, "sticky": "none"},
    ]
    document = config(deployments, models)
    other = {"name": "stranger", "secret": "env:TEST_OTHER_KEY"}
    document["tenants"].append({"name": "others", "keys": [other]})
    gateway = Gateway(document)
    gateway.environ["TEST_OTHER_KEY"] = "sk-test-other"
    with gateway as running:
        running.until(lambda: running.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
        yield running


def say(gateway: Gateway, key: str | None = KEY, **said: Any) -> tuple[int, dict[str, Any]]:
    """One score."""
    response = gateway.post("/v1/feedback", orjson.dumps(said), key=key)
    return response.status_code, response.json()


def test_a_score_of_an_answer(gateway: Gateway) -> None:
    """By the id that the answer came with, as soon as it has come; by another key of the tenant too."""
    answer = gateway.chat().headers["x-request-id"]
    assert say(gateway, request_id=answer, score=1, comment="fine") == (200, {"request_id": answer, "score": 1.0})
    assert say(gateway, LIMITED_KEY, request_id=answer, score=0.25)[0] == 200
    assert gateway.value("sluicegate_feedback_score_count", model="echo", deployment="v1") == 2
    assert gateway.value("sluicegate_feedback_score_sum", model="echo", deployment="v1") == 1.25


def test_another_tenants_answer(gateway: Gateway) -> None:
    """It is told as if there were none."""
    answer = gateway.chat().headers["x-request-id"]
    assert say(gateway, request_id=answer, score=1)[0] == 200
    other, none = (
        say(gateway, "sk-test-other", request_id=answer, score=1),
        say(gateway, "sk-test-other", request_id="req_none", score=1),
    )
    assert other == none
    assert (other[0], other[1]["error"]["param"]) == (404, "request_id")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"request_id": "r"},
        {"score": 1},
        {"request_id": "", "score": 1},
        {"request_id": "r", "score": "good"},
        {"request_id": "r", "score": 1e300},
        {"request_id": "r", "score": True},
        {"request_id": "r", "score": 1, "comment": "x" * 2001},
        {"request_id": "r", "score": 1, "commment": "x"},
        {"request_id": "r" * 256, "score": 1},
    ],
)
def test_what_is_no_score(gateway: Gateway, said: dict[str, Any]) -> None:
    """400, and the field that is to blame."""
    status, answer = say(gateway, **said)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


def test_a_stranger_is_not_read(gateway: Gateway) -> None:
    """The key comes before the body; a body without end is refused."""
    assert gateway.post("/v1/feedback", b"{" * 1_000_000, key="sk-nobody").status_code == 401
    assert gateway.post("/v1/feedback", b"x" * 20_000).status_code == 413
    assert say(gateway, None, request_id="r", score=1)[0] == 401


def test_bad_scores_roll_back(gateway: Gateway) -> None:
    """A candidate whose answers get bad scores, and stable's good ones, is out; the log names the gate."""
    assert gateway.admin("/admin/v1/rollouts/echo/start", {}).status_code == 200
    gateway.until(lambda: gateway.chat().headers["x-sluicegate-arm"] == "candidate", seconds=20)
    answers = [gateway.chat().headers for _ in range(60)]
    for headers in answers:
        score = 0.1 if headers["x-sluicegate-arm"] == "candidate" else 0.9
        assert say(gateway, request_id=headers["x-request-id"], score=score)[0] == 200

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = gateway.admin("/admin/v1/rollouts/echo").json()
        return found

    gateway.until(lambda: shown()["state"] != "running", seconds=30)
    assert shown()["state"] == "rolled_back"
    assert shown()["reason"].startswith("low_quality: evidence ")
