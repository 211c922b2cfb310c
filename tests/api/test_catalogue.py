"""The catalogue and the probes, asked from a running gateway."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.support.gateway import KEY, LIMITED_KEY, Gateway, config, deployment
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """Two models; one has a name with a slash and facts in the catalogue; one deployment has an upstream of its own."""
    facts = {"parameters": "8B", "license": "llama3.1"}
    known = deployment("three", "http://127.0.0.1:9", "claude-haiku-5-5", provider="anthropic")
    for setting in ("price", "context_window", "max_output_tokens"):
        del known[setting]
    deployments = [
        deployment("one", upstream_process.url, "echo", catalog=facts),
        deployment("two", "http://127.0.0.1:9", "echo"),
        known,
    ]
    models = [
        {"name": "echo", "stable": "one"},
        {"name": "org/other", "stable": "two"},
        {"name": "small", "stable": "three"},
    ]
    with Gateway(config(deployments, models)) as running:
        yield running


def test_models_are_listed(gateway: Gateway) -> None:
    """The SDK lists every model that the key may use, with the facts of its deployment."""
    with gateway.sdk() as client:
        models = {model.id: model for model in client.models.list()}
    assert set(models) == {"echo", "org/other", "small"}
    shown = models["echo"].model_dump()
    assert (shown["context_window"], shown["max_output_tokens"]) == (8192, 512)
    assert (shown["parameters"], shown["license"], shown["owned_by"]) == ("8B", "llama3.1", "openai")


def test_prices_and_modalities(gateway: Gateway) -> None:
    """What a model costs, with the page that says so where the catalogue knew it; what is not known is null."""
    with gateway.sdk() as client:
        own, known = (client.models.retrieve(name).model_dump() for name in ("echo", "small"))
    assert (own["price"], own["price_source"], own["modalities"]) == ({"input": 0.5, "output": 1.5}, None, None)
    assert (known["provider"], known["context_window"], known["max_output_tokens"]) == ("anthropic", 1_000_000, 128_000)
    assert known["price"] == {
        "input": 0.1, "output": 0.5, "cached_input": 0.01, "cache_write": 0.125,
        "long_prompt": {"above": 100_000, "input": 0.5, "output": 2.5, "cached_input": 0.05, "cache_write": 0.625},
    }  # fmt: skip
    assert known["price_source"]["url"] == "https://platform.claude.com/docs/en/about-claude/pricing"
    assert known["modalities"] == {"input": ["text", "image", "pdf"], "output": ["text"]}


def test_anthropics_client_lists_models_too(gateway: Gateway) -> None:
    """Its page, its fields, its paging."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        page = client.models.list()
        assert [(one.id, one.type, one.display_name) for one in page] == [
            (name, "model", name) for name in ("echo", "org/other", "small")
        ]
        assert (page.has_more, page.last_id) == (False, "small")
        assert client.models.retrieve("small").created_at.year == 1970


def test_one_model(gateway: Gateway) -> None:
    """A name with a slash is one name."""
    with gateway.sdk() as client:
        assert client.models.retrieve("org/other").id == "org/other"


def test_unknown_model(gateway: Gateway) -> None:
    """404 `model_not_found`, as for requests."""
    with gateway.sdk() as client, pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("nobody")
    assert raised.value.code == "model_not_found"


def test_a_limited_key_sees_its_models_alone(gateway: Gateway) -> None:
    """What a key may not use it does not see, neither in the list nor by name."""
    with gateway.sdk(LIMITED_KEY) as client:
        assert [model.id for model in client.models.list()] == ["echo"]
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("org/other")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/echo"])
def test_strangers_see_nothing(gateway: Gateway, path: str) -> None:
    """The catalogue needs a key."""
    response = gateway.get(path, key=None)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


def test_probes_on_both_listeners(gateway: Gateway) -> None:
    """Liveness and readiness need no key, and are the same for callers' and operators' listeners."""
    for response in (gateway.get("/livez", key=None), gateway.ops("/livez", key=None)):
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
    for response in (gateway.get("/readyz", key=None), gateway.ops("/readyz", key=None)):
        assert response.status_code == 200
        assert response.json()["checks"]["gateway"] == "ok"


def test_readiness_names_what_is_down(gateway: Gateway) -> None:
    """A deployment whose upstream cannot be reached is named; the gateway stays ready while another can serve."""
    assert gateway.chat("org/other").status_code == 502
    checks = gateway.get("/readyz", key=None).json()["checks"]
    assert checks["deployment one"] == "ok"
    assert checks["deployment two"] == "1 of 1 endpoints down"
    assert checks["gateway"] == "ok"
