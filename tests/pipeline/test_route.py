"""Where a request goes: stable first, then the fallbacks in the configuration's order; or why it goes nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import MODEL_NOT_ALLOWED, MODEL_NOT_FOUND, GatewayError, Outcome
from app.exchange import Arm, Principal
from app.pipeline.route import route
from tests.pipeline.parts import call, table

ANYONE = Principal("team", "ci")
THIRD: dict[str, Any] = {
    "name": "three", "provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "context_window": 10,
    "max_output_tokens": 10, "price": {"input": 0, "output": 0},
}  # fmt: skip


def test_one_deployment_and_no_more() -> None:
    """Without fallbacks there is one choice, the stable one."""
    built = table()
    assert route(call(), ANYONE, built).choices == ((Arm.STABLE, built.deployments["one"]),)


@pytest.mark.parametrize("order", [["two", "three"], ["three", "two"]])
def test_fallbacks_in_their_order(order: list[str]) -> None:
    """The order is the operator's."""
    built = table({"deployments[2]": THIRD, "models[0].fallbacks": order})
    expected = [(Arm.STABLE, "one"), *((Arm.FALLBACK, name) for name in order)]
    assert [(arm, found.name) for arm, found in route(call(), ANYONE, built).choices] == expected


@pytest.mark.parametrize("model", ["nobody", "Chat", "chat ", "one"])
def test_an_unknown_model(model: str) -> None:
    """404 names the field and the model; a deployment's name is no model."""
    with pytest.raises(GatewayError) as refused:
        route(call(model=model), ANYONE, table())
    assert (refused.value.code, refused.value.param) == (MODEL_NOT_FOUND, "model")
    assert refused.value.outcome is Outcome.REFUSED_INVALID
    assert f"`{model}`" in refused.value.message


def test_a_long_name_is_cut_in_the_message() -> None:
    """A caller's megabyte does not come back."""
    with pytest.raises(GatewayError) as refused:
        route(call(model="x" * 100_000), ANYONE, table())
    assert len(refused.value.message) < 200


def test_a_key_that_may_use_some_models() -> None:
    """Those it may use are routed, another is 403; one that does not exist is 404 for everybody."""
    built = table({"models[1]": {"name": "mini", "stable": "two"}})
    limited = Principal("team", "ci", frozenset({"mini"}))
    assert route(call(model="mini"), limited, built).choices[0][1].name == "two"
    with pytest.raises(GatewayError) as refused:
        route(call(), limited, built)
    assert (refused.value.code, refused.value.outcome) == (MODEL_NOT_ALLOWED, Outcome.REFUSED_AUTH)
    with pytest.raises(GatewayError) as unknown:
        route(call(model="nobody"), limited, built)
    assert unknown.value.code is MODEL_NOT_FOUND


def test_a_key_that_may_use_nothing() -> None:
    """An empty set is not the same as no limit."""
    with pytest.raises(GatewayError) as refused:
        route(call(), Principal("team", "ci", frozenset()), table())
    assert refused.value.code is MODEL_NOT_ALLOWED
