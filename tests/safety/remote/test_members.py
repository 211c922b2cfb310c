"""Detectors that are services, as a gateway's guards name them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.config import Config
from app.providers.transport import HttpTransport
from app.safety.detector import DetectorFailure, Inspection, Passage
from app.safety.remote.members import CATEGORIES, members
from tests.support.configs import loaded
from tests.support.gateway import Gateway, deployment
from tests.support.gateway import config as document
from tests.support.safety_services import KEY, SafetyServices
from tests.support.upstream import Upstream


def test_each_has_its_name_and_categories(transport: HttpTransport) -> None:
    """As the configuration names them."""
    found = members(Config.model_construct, transport)
    assert {name: member.name for name, member in found.items()} == {name: name for name in CATEGORIES}


async def test_what_is_not_set_up_fails(transport: HttpTransport) -> None:
    """A reload may have taken it away."""
    config = loaded({})
    for member in members(lambda: config, transport).values():
        with pytest.raises(DetectorFailure, match="not set up"):
            await member.check(Inspection("prompt", (Passage("hello", "user"),)))


def settings(upstream: Upstream, services: SafetyServices, **prompt: Any) -> dict[str, Any]:
    """A gateway with a guard that asks both services."""
    detectors = ["azure_content_safety", "openai_moderation"]
    guard = {
        "name": "g",
        "prompt": {"detectors": detectors, "deadline_ms": 1500, **prompt},
        "completion": {"detectors": detectors, "deadline_ms": 1500},
    }
    where = {
        "azure_content_safety": {"endpoint": services.url, "api_key": "env:SERVICE_KEY"},
        "openai_moderation": {"base_url": f"{services.url}/v1", "api_key": "env:SERVICE_KEY"},
    }
    echo = deployment("to-echo", upstream.url, "echo")
    return document([echo], [{"name": "echo", "stable": "to-echo", "guard": "g"}], guards=[guard], safety=where)


def test_a_gateway_asks_services(upstream: Upstream, services: SafetyServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either can block; a blocked prompt costs no upstream call; who hangs or crashes is judged by policy, in time."""
    monkeypatch.setenv("SERVICE_KEY", KEY)
    with Gateway(settings(upstream, services)) as gateway:
        assert gateway.chat("echo", text="How do I kill a Python process?").status_code == 200
        calls = len(upstream.requests())
        for text in ("azure:Violence=4", "an attack", "openai:hate=0.8", "CRASH", "STATUS-429", "SHAPE"):
            answer = gateway.chat("echo", text=text)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter"), text
        began = time.monotonic()
        assert gateway.chat("echo", text="HANG").status_code == 400
        assert 1.4 < time.monotonic() - began < 10
        assert gateway.chat("echo", text="azure:Violence=2").status_code == 200
        assert len(upstream.requests()) == calls + 1


def test_on_error_allow_lets_prompts_through(
    upstream: Upstream, services: SafetyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the completion's own policy still holds."""
    monkeypatch.setenv("SERVICE_KEY", KEY)
    document = settings(upstream, services, on_error="allow")
    with Gateway(document) as gateway:
        answer = gateway.chat("echo", text="STATUS-503")
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["finish_reason"] == "content_filter"


def test_a_model_of_the_gateway_judges_on_the_tenants_account(upstream: Upstream) -> None:
    """An echo says what it is told: `unsafe` and a hazard blocks, before the model itself is asked; the log knows."""
    stage = {"detectors": ["guard_model"], "deadline_ms": 5000}
    guard = {"name": "g", "prompt": stage}
    models = [{"name": "echo", "stable": "answers", "guard": "g"}, {"name": "judge", "stable": "judges"}]
    deployments = [deployment("answers", upstream.url, "answer-8"), deployment("judges", upstream.url, "echo")]
    document_ = document(deployments, models, guards=[guard])
    document_["safety"] = {"guard_model": {"model": "judge", "format": "llama_guard"}}
    with Gateway(document_) as gateway:
        blocked = gateway.chat("echo", text="unsafe\nS10")
        assert (blocked.status_code, blocked.json()["error"]["code"]) == (400, "content_filter"), blocked.text
        assert [one["model"] for one in upstream.bodies()] == ["echo"]
        passed = gateway.chat("echo", text="safe")
        assert passed.status_code == 200, passed.text
        nonsense = gateway.chat("echo", text="What is this?")
        assert nonsense.status_code == 400
        lines = gateway.lines(6)
        assert {line.get("purpose") for line in lines} == {None, "guard"}
        assert {line["tenant"] for line in lines} == {"team"}
