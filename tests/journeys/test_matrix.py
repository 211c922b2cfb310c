"""Every feature on every surface over every provider: the table in docs/providers.md, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from tests.support.gateway import Gateway
from tests.support.matrix import AFTER, BEHAVIOURS, FAULTS, FEATURES, IN_STREAM, NOT_TOLD, PROVIDERS, Cell
from tests.support.providers import name_of, one_each_provider
from tests.support.talk import SURFACES
from tests.support.upstream import Upstream
from tests.support.vendor import anthropic_request, gemini_request, openai_request


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """Each behaviour behind each dialect."""
    with Gateway(one_each_provider(upstream_process.url, PROVIDERS, BEHAVIOURS)) as running:
        yield running


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_feature(gateway: Gateway, upstream: Upstream, surface: str, provider: str) -> None:
    """Each in turn; every request that went up is valid by the provider's own SDK."""
    failures = {}
    for name, check in FEATURES.items():
        if (name, provider) in NOT_TOLD:
            continue
        try:
            check(Cell(gateway, upstream, surface, provider))
        except AssertionError as failure:
            failures[name] = str(failure)[:300]
    assert not failures
    for request in upstream.requests():
        body = orjson.loads(request["body"])
        if provider == "anthropic":
            assert anthropic_request(body) == []
        elif provider == "gemini":
            assert gemini_request(body) == []
        elif provider != "vllm":
            assert openai_request(body) == []


@pytest.fixture(scope="module")
def failing(upstream_process: Upstream) -> Iterator[Gateway]:
    """Each fault behind each dialect, and little patience."""
    behaviours = {behaviour for behaviour, *_ in FAULTS.values()} | {behaviour for behaviour, _ in IN_STREAM.values()}
    timeouts = {"first_token": 2, "between_tokens": 1, "total": 2.5}
    with Gateway(one_each_provider(upstream_process.url, PROVIDERS, sorted(behaviours), timeouts=timeouts)) as running:
        yield running


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_before_the_answer(failing: Gateway, upstream: Upstream, provider: str, fault: str) -> None:
    """Become the contract's codes, `retry-after` kept; nothing that was refused is on the bill."""
    behaviour, status, code, after = FAULTS[fault]
    response = failing.chat(name_of(provider, behaviour))
    error = response.json()["error"]
    assert response.status_code == status, error
    assert error["code"] == code or status == 422
    assert response.headers.get("retry-after") == (None if after is None else str(after))
    line = failing.line(response)
    if status in (429, 422):
        assert line["output_tokens"] == line["cost_usd"] == 0
    assert "127.0.0.1" not in response.text


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", IN_STREAM)
def test_faults_inside_the_answer(failing: Gateway, upstream: Upstream, provider: str, fault: str) -> None:
    """End the stream with an error event; what had been made is on the bill."""
    behaviour, code = IN_STREAM[fault]
    response = failing.chat(name_of(provider, behaviour), stream=True)
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert orjson.loads(events[-1])["error"]["code"] == code
    line = failing.line(response)
    assert line["output_tokens"] >= AFTER
    assert line["cost_usd"] > 0
