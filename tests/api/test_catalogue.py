"""The catalogue and the probes, asked from a running gateway."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.support.gateway import LIMITED_KEY, Gateway, config, deployment
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """Two models; one has a name with a slash and facts in the catalogue; one deployment has an upstream of its own."""
    facts = {"parameters": "8B", "license": "llama3.1"}
    deployments = [
        deployment("one", upstream_process.url, "echo", catalog=facts),
        deployment("two", "http://127.0.0.1:9", "echo"),
    ]
    models = [{"name": "echo", "stable": "one"}, {"name": "org/other", "stable": "two"}]
    with Gateway(config(deployments, models)) as running:
        yield running


def test_models_are_listed(gateway: Gateway) -> None:
    """The SDK lists every model that the key may use, with the facts of its deployment."""
    with gateway.sdk() as client:
        models = {model.id: model for model in client.models.list()}
    assert set(models) == {"echo", "org/other"}
    shown = models["echo"].model_dump()
    assert (shown["context_window"], shown["max_output_tokens"]) == (8192, 512)
    assert (shown["parameters"], shown["license"], shown["owned_by"]) == ("8B", "llama3.1", "openai")


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
