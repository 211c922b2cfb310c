"""`POST /v1/moderations` before the running gateway, with the real SDK."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import orjson
import pytest
from openai.types import ModerationTextInputParam

from tests.support.gateway import KEY, Gateway, config, deployment
from tests.support.sockets import connect
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with two guards."""
    stage = {"detectors": ["rules", "pii"]}
    guards = [
        {"name": "default", "blocklist": ["internal codename"], "prompt": stage},
        {"name": "lax", "prompt": {"detectors": ["pii"], "block_at": {"pii": 6}}},
    ]
    document = config(
        [deployment("echo", upstream_process.url, "echo")], [{"name": "echo", "stable": "echo"}], guards=guards
    )
    with Gateway(document) as running:
        yield running


def ask(gateway: Gateway, **body: Any) -> Any:
    """One request."""
    return gateway.post("/v1/moderations", orjson.dumps(body))


def test_the_sdk_gets_a_result_for_each_text(gateway: Gateway, upstream: Upstream) -> None:
    """Under OpenAI's own model name too; no upstream is asked."""
    with gateway.sdk() as client:
        for model in ("default", "omni-moderation-latest"):
            answer = client.moderations.create(input=["hello", "the internal codename"], model=model)
            assert [result.flagged for result in answer.results] == [False, True]
            assert answer.model == "default"
            assert not answer.results[1].categories.violence
            assert answer.results[1].to_dict()["severity"]["blocklist"] == 6  # type: ignore[index]  # a field of ours
        parts: list[ModerationTextInputParam] = [
            {"type": "text", "text": "the internal"},
            {"type": "text", "text": "codename"},
        ]
        one = client.moderations.create(input=parts)
        assert [result.flagged for result in one.results] == [True]
    assert upstream.requests() == []
    assert gateway.value("sluicegate_guard_hits_total", category="blocklist", action="log") >= 2


def test_the_model_names_the_guard(gateway: Gateway) -> None:
    """Another one finds other things."""
    assert not ask(gateway, input="the internal codename", model="lax").json()["results"][0]["flagged"]
    assert ask(gateway, input="bob@example.com", model="lax").json()["results"][0]["flagged"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": ["x"] * 1001}, 400, "input"),
        ({"input": ["x", 1]}, 400, "input"),
        ({"input": [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]}, 400, "input"),
        ({"input": "x", "model": 5}, 400, "model"),
        ({"input": "x", "model": "nobody"}, 404, "model"),
    ],
)
def test_what_cannot_be_judged_is_refused(gateway: Gateway, body: dict[str, Any], status: int, param: str) -> None:
    """In OpenAI's shape, naming the field."""
    response = ask(gateway, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
def test_what_is_no_request_is_refused(gateway: Gateway, body: bytes) -> None:
    """Not JSON, or no object."""
    assert gateway.post("/v1/moderations", body).status_code == 400


def test_a_stranger_is_refused(gateway: Gateway) -> None:
    """As everywhere; a body that is too large, too."""
    assert gateway.post("/v1/moderations", b"{", key="wrong").status_code == 401
    assert gateway.post("/v1/moderations", b"x" * 10_485_761).status_code == 413
    with gateway.sdk(key="wrong") as client, pytest.raises(openai.AuthenticationError):
        client.moderations.create(input="x")


def test_each_has_an_outcome_and_a_line(gateway: Gateway) -> None:
    """Judged, refused, a stranger's, left in the middle: one each, as everywhere on the data plane."""
    before = Counter(gateway.outcomes())
    told = ask(gateway, input=["fine", "the internal codename"])
    ask(gateway, input=[])
    ask(gateway, input="x", model="nobody")
    gateway.post("/v1/moderations", b"{}", key="wrong")
    with connect(gateway.url) as connection:
        head = f"POST /v1/moderations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        time.sleep(0.1)
    expected = {"ok": 1, "refused_invalid": 2, "refused_auth": 1, "client_closed": 1}
    gateway.until(lambda: Counter(gateway.outcomes()) - before == Counter(expected))
    line = gateway.line(told)
    assert (line["outcome"], line["operation"], line["tenant"], line["key"]) == ("ok", "moderation", "team", "main")
    assert (line["guard"], line["status"], line["attempts"]) == ("default", 200, 0)
    assert [hit["category"] for hit in line["guard_hits"]] == ["blocklist"]
