"""How many tokens a prompt has, asked through the gateway of providers that cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import orjson
import pytest

from tests.support.gateway import KEY, Gateway, config, deployment
from tests.support.upstream import Upstream

ANIMAL = "The animal didn't cross the street because it was too tired."
TOOL: Any = {"name": "get_weather", "description": "Weather of a city.", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """OpenAI with and without a vocabulary, Azure with one."""
    deployments = [
        deployment("counts", upstream_process.url, "echo", tokenizer="gpt2"),
        deployment("azure", "http://127.0.0.1:9", "echo", provider="azure_openai", tokenizer="o200k"),
        deployment("silent", upstream_process.url, "echo"),
    ]
    models = [{"name": name, "stable": name} for name in ("counts", "azure", "silent")]
    models.append({"name": "echo", "stable": "silent"})  # which one of the test's keys names
    models.append({"name": "guarded", "stable": "counts", "guard": "default"})
    look = {"detectors": ["rules", "pii"], "actions": {"pii": "redact"}}
    guards = [{"name": "default", "blocklist": ["internal codename"], "prompt": look}]
    with Gateway(config(deployments, models, guards=guards)) as running:
        yield running


@pytest.fixture
def claude(gateway: Gateway, upstream: Upstream) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK at the gateway; nothing that it asks reaches a provider."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        yield client
    assert upstream.log() == []


@pytest.mark.parametrize("model", ["counts", "azure"])
def test_a_conversation(claude: anthropic.Anthropic, model: str) -> None:
    """Its text by the vocabulary, and at most what stands around it; tools count; nothing is billed."""
    asked: Any = {"model": model, "messages": [{"role": "user", "content": ANIMAL}]}
    found = claude.messages.count_tokens(**asked).input_tokens
    assert 13 <= found <= 13 + 16 + 2 * 4
    assert claude.messages.count_tokens(**asked, system="Be brief.").input_tokens > found
    assert claude.messages.count_tokens(**asked, tools=[TOOL]).input_tokens > found


def test_a_text(gateway: Gateway, upstream: Upstream) -> None:
    """Exactly; how it was counted is said, and the access line is that of a request that cost nothing."""
    response = gateway.post("/tokenize", orjson.dumps({"model": "counts", "prompt": ANIMAL}))
    assert response.json() == {"count": 13, "max_model_len": 8192, "method": "exact"}
    line = gateway.line(response)
    assert (line["outcome"], line["status"], line.get("cost_usd", 0)) == ("ok", 200, 0)
    assert upstream.log() == []


IMAGE: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}


@pytest.mark.parametrize(("model", "content"), [("silent", ANIMAL), ("counts", [IMAGE])])
def test_what_nobody_can_count_is_refused(claude: anthropic.Anthropic, model: str, content: Any) -> None:
    """By name, with what the operator can do; an image is no text."""
    with pytest.raises(anthropic.BadRequestError, match="no `tokenizer`"):
        claude.messages.count_tokens(model=model, messages=[{"role": "user", "content": content}])


def test_a_guard_looks_at_what_is_counted(gateway: Gateway, upstream: Upstream) -> None:
    """What it blocks is not counted, and what it replaces counts as it would be sent."""
    blocked = gateway.post("/tokenize", orjson.dumps({"model": "guarded", "prompt": "the internal codename"}))
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (400, "content_filter")
    asked = {"model": "guarded", "prompt": "Write to bob@example.com"}
    replaced = gateway.post("/tokenize", orjson.dumps(asked)).json()
    sent = gateway.post("/tokenize", orjson.dumps({"model": "counts", "prompt": "Write to [EMAIL_1]"})).json()
    assert replaced == sent
    assert upstream.log() == []
