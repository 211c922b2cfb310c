"""Deployments: friendly notations, defaults, bounds."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.config import Secret
from app.config.deployments import Deployment, Timeouts
from tests.support.configs import REMOVED, loaded, messages, problems


def first(path: str, value: object) -> Deployment:
    """The first deployment with one setting changed."""
    return loaded({f"deployments[0].{path}": value}).deployments[0]


def test_defaults() -> None:
    """What the example of the contract implies."""
    one = loaded().deployments[0]
    assert one.timeouts == Timeouts(connect=2, first_token=30, between_tokens=20, total=600)
    assert (one.cancel_allowance, one.api_key, one.proxy, one.http2, one.headers) == (16, None, None, False, {})
    assert (one.price.cached_input, one.price.cache_write) == (None, None)


def test_prices_are_exact() -> None:
    """What was typed, not what a binary fraction makes of it."""
    assert first("price", {"input": 0.1, "output": 0.000001, "cached_input": 3}).price.model_dump() == {
        "input": Decimal("0.1"),
        "output": Decimal("0.000001"),
        "cached_input": 3,
        "cache_write": None,
        "reasoning": None,
        "image": 0,
        "request": 0,
        "long_prompt": None,
    }


@pytest.mark.parametrize(
    ("provider", "written", "paths"),
    [
        ("vllm", REMOVED, ("/health", "/metrics")),
        ("openai", REMOVED, (None, None)),
        ("vllm", None, (None, None)),
        ("openai", "/ping", ("/ping", "/ping")),
    ],
)
def test_pages_go_by_the_provider_unless_they_are_written(provider: str, written: object, paths: object) -> None:
    """Null asks nothing, also of a vLLM."""
    pages = {} if written is REMOVED else {"deployments[0].health": written, "deployments[0].metrics": written}
    found = loaded({"deployments[0].provider": provider, **pages}).deployments[0]
    assert (found.health, found.metrics) == paths


def test_addresses_in_either_notation() -> None:
    """One address, or those of the replicas."""
    assert first("base_url", "http://a:1/v1/").urls == ("http://a:1/v1",)
    both = loaded({"deployments[0].base_url": REMOVED, "deployments[0].endpoints": ["http://a:1", "http://b:1"]})
    assert both.deployments[0].urls == ("http://a:1", "http://b:1")


def test_headers_are_lower_case_and_may_hold_references() -> None:
    """A reference may hold a scheme and a credential, with the space between."""
    headers = first("headers", {"X-Org": "one two", "Authorization": "env:EXTRA_TOKEN"}).headers
    assert headers["x-org"] == "one two"
    assert isinstance(headers["authorization"], Secret)
    assert headers["authorization"].reveal() == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize("name", ["Host", "Content-Length", "transfer-encoding", "Connection", "TE", "x-request-id"])
def test_headers_that_the_gateway_sets_are_refused(name: str) -> None:
    """Two lengths, two hosts: that is how requests are smuggled."""
    (problem,) = problems({"deployments[0].headers": {name: "x"}})
    assert problem.message == "is a header that the gateway sets itself"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"x y": "1"}, "is not a header's name"),
        ({"": "1"}, "is not a header's name"),
        ({"x\r\ny": "1"}, "is not a header's name"),
        ({"x": "a\r\ny: z"}, "must be visible ASCII text on one line"),
        ({"x": ""}, "must be visible ASCII text on one line"),
        ({"x": 1}, "must be visible ASCII text on one line"),
        (["x"], "must be a section with names and values"),
    ],
)
def test_what_is_no_header_is_refused(headers: object, message: str) -> None:
    """Line breaks above all."""
    assert [problem.message for problem in problems({"deployments[0].headers": headers})] == [message]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", REMOVED, "is required"),
        ("provider", "vlm", "must be one of `vllm`, `openai`, `azure_openai`, `anthropic`, `gemini`, not `vlm`"),
        ("model", "", "must not be empty"),
        ("model", 4, "must be text"),
        ("context_window", 0, "must be at least 1"),
        ("max_output_tokens", REMOVED, "is required"),
        ("price", REMOVED, "is required"),
        ("price", None, "must be a section with names and values"),
        ("price.output", REMOVED, "is required"),
        ("price.input", -0.01, "must be from 0 to 1000000000 US dollars"),
        ("price.input", 0.1234567, "has more than 6 decimals"),
        ("price.input", "0.1", "must be a number of US dollars"),
        ("cancel_allowance", -1, "must be a number of tokens or `full`"),
        ("cancel_allowance", "all", "must be a number of tokens or `full`"),
        ("cancel_allowance", True, "must be a number of tokens or `full`"),
        ("timeouts.connect", 0, "must be more than 0"),
        ("timeouts.total", "2d", "must be at most 86400"),
        ("health", "health", "is not of the form"),
        ("health", "/he alth", "is not of the form"),
        ("endpoints", "http://host/v1", "must be a list"),
        ("http2", 1, "must be true or false"),
        ("catalog", {"parameters": 8}, "must be text"),
    ],
)
def test_what_is_out_of_bounds_is_refused(path: str, value: object, message: str) -> None:
    """With one problem, whose message begins so."""
    (problem,) = problems({f"deployments[1].{path}": value})
    assert problem.path.startswith(f"deployments[1].{path}")
    assert problem.message.startswith(message)


def test_cancel_allowance_may_be_full() -> None:
    """For a provider that bills on."""
    assert first("cancel_allowance", "full").cancel_allowance == "full"
    assert first("cancel_allowance", 0).cancel_allowance == 0


def test_one_problem_names_each_bad_value() -> None:
    """Not just the first."""
    changes = {"deployments[0].price.input": -1, "deployments[0].provider": "x", "deployments[1].model": None}
    assert messages(problems(changes)) == [
        "deployments[0].price.input must be from 0 to 1000000000 US dollars",
        "deployments[0].provider must be one of `vllm`, `openai`, `azure_openai`, `anthropic`, `gemini`, not `x`",
        "deployments[1].model must be text",
    ]
