"""Rollouts through the admin API of a real gateway: who may do what, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import KEY, VIEWER_KEY, Gateway, Json, config, deployment
from tests.support.upstream import Upstream

ASKED = {"steps": [10, 100], "gates": {"error": {}}}


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with two models that may roll."""
    url = upstream_process.url
    deployments = [deployment("v1", url, "answer-2@1"), deployment("v2", url, "answer-2@2")]
    rolled: Json = {"stable": "v1", "candidate": "v2", "weight": 0, "rollout": ASKED}
    models: list[Json] = [
        {"name": "echo", **rolled},
        {"name": "org/other", **rolled},
        {"name": "plain", "stable": "v1"},
    ]
    with Gateway(config(deployments, models)) as running:
        running.until(lambda: running.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
        yield running


def ask(gateway: Gateway, path: str, body: Json | None = None, **options: Any) -> tuple[int, Json]:
    """Status and answer."""
    response = gateway.admin(f"/admin/v1/rollouts{path}", body, **options)
    return response.status_code, response.json()


def test_the_life_of_a_rollout(gateway: Gateway) -> None:
    """Each action answers with where the rollout is then; all of them stand in its log and in the audit."""
    status, found = ask(gateway, "/echo/start", {"reason": "new"})
    assert (status, found["state"], found["weight"], found["steps"]) == (200, "running", 10, [10, 100])
    states = []
    for action, body in (
        ("pause", {}), ("resume", {}), ("set-weight", {"weight": 33.5}), ("advance", {"reason": "good"}), ("abort", {}),
    ):  # fmt: skip
        status, found = ask(gateway, f"/echo/{action}", body)
        assert status == 200, found
        states.append((found["state"], found["weight"]))
    assert states == [
        ("paused", 10), ("running", 10), ("paused", 33.5), ("running", 100), ("rolled_back", 0),
    ]  # fmt: skip
    shown = ask(gateway, "/echo")[1]
    assert [line["event"] for line in reversed(shown["log"])] == [
        "start", "pause", "resume", "set_weight", "advance", "abort",
    ]  # fmt: skip
    assert {line["who"] for line in shown["log"]} == {"ops"}
    assert [one["model"] for one in ask(gateway, "")[1]["data"]] == ["echo"]
    audit = gateway.ops("/admin/v1/audit?limit=6").json()["data"]
    assert audit[-1]["what"] == "rollout start"
    assert audit[1]["after"]["reason"] == "good"
    assert ask(gateway, "/echo/start", {})[1]["run"] == 2
    assert ask(gateway, "/echo/promote", {})[1]["state"] == "promoted"
    gateway.until(lambda: gateway.chat("echo").headers["x-sluicegate-arm"] == "candidate")
    assert ask(gateway, "/echo?limit=1")[1]["log"][0]["event"] == "promote"


def test_a_model_with_a_slash_in_its_name(gateway: Gateway) -> None:
    """It is one name."""
    assert ask(gateway, "/org/other/start", {})[1]["model"] == "org/other"
    assert ask(gateway, "/org/other")[1]["state"] == "running"
    assert ask(gateway, "/org/other/abort", {})[0] == 200


def test_settings_of_the_request(gateway: Gateway) -> None:
    """For a model without any in the file."""
    body = {"candidate": "v2", "rollout": {"steps": [25, 100], "gates": {"slow_total": {"seconds": 3}}}}
    status, found = ask(gateway, "/plain/start", body)
    assert (status, found["weight"]) == (200, 25)
    assert found["settings"] == body["rollout"]
    assert ask(gateway, "/plain/abort", {})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/nobody/start", {}, "There is no model `nobody`"),
        ("/plain/start", {}, "has no candidate"),
        ("/plain/start", {"candidate": "v3"}, "There is no deployment `v3`"),
        ("/plain/start", {"candidate": "v1"}, "is the stable deployment itself"),
        ("/plain/start", {"candidate": "v2", "rollout": {"steps": []}}, "steps"),
        ("/plain/start", {"candidate": "v2", "rollout": {"steps": [5, 5]}}, "must rise"),
        ("/plain/start", {"candidate": "v2", "rollout": {"steps": [5], "gates": {"eror": {}}}}, "eror"),
        ("/plain/start", {"candidates": "v2"}, "candidates"),
        ("/nobody/pause", {}, "has no rollout"),
        ("/echo/set-weight", {}, "weight"),
        ("/echo/set-weight", {"weight": 101}, "weight"),
        ("/echo/set-weight", {"weight": "many"}, "weight"),
    ],
)
def test_what_is_refused(gateway: Gateway, path: str, body: Json, words: str) -> None:
    """In words that say what is wrong."""
    status, found = ask(gateway, path, body)
    assert (status, found["error"]["code"]) == (400, "invalid_request")
    assert words in found["error"]["message"]


def test_who_may_look_and_who_may_change(gateway: Gateway) -> None:
    """A viewer looks, an admin changes, a caller and a stranger do neither."""
    assert ask(gateway, "", key=VIEWER_KEY)[0] == 200
    assert ask(gateway, "/echo/pause", {}, key=VIEWER_KEY)[0] == 403
    for key in (KEY, "sk-nobody"):
        assert ask(gateway, "", key=key)[0] == 401
        assert ask(gateway, "/echo/promote", {}, key=key)[0] == 401
