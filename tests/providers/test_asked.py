"""Fields are taken, refused, dropped or passed on: none gets lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import GatewayError
from app.providers.asked import Asked, dropped, means_nothing
from tests.pipeline.parts import call, deployment

ANTHROPIC = {"provider": "anthropic"}


def asked(drop: list[str] | None = None, **fields: Any) -> Asked:
    """The fields of a call to Anthropic."""
    return Asked(call(**fields), deployment("two", **ANTHROPIC, drop_params=drop or []))


def test_what_nobody_takes_is_refused_or_passed_on() -> None:
    """A field of OpenAI's is a 400 that names it; one that nobody knows goes up untouched; our own stay here."""
    with pytest.raises(GatewayError, match="`seed` cannot be passed on to provider `anthropic`") as refused:
        asked(seed=7).rest()
    assert (refused.value.status, refused.value.param) == (400, "seed")
    assert "drop_params" in refused.value.message
    one = asked(betas=["x"], user="u", documents=[], stream=True, seed=3)
    assert one.take("seed") == 3
    assert one.take("messages") is not None
    assert one.rest() == {"betas": ["x"]}


def test_drop_params_leaves_out_what_it_lists() -> None:
    """And nothing else."""
    assert asked(["seed"], seed=7).rest() == {}
    with pytest.raises(GatewayError):
        asked(["seed"], seed=7, logit_bias={"1": 2}).rest()
    body = {"a": 1, "seed": 2}
    assert dropped(body, deployment()) is body


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 1), ("logprobs", False), ("presence_penalty", 0), ("store", False), ("seed", None), ("tools", [])],
)
def test_what_asks_for_nothing_is_no_reason_to_refuse(name: str, value: Any) -> None:
    """SDKs send defaults."""
    assert means_nothing(name, value)
    assert asked(**{name: value}).rest() == {}


def test_anthropics_own_fields_are_refused_elsewhere() -> None:
    """They mean nothing there."""
    fields: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert asked(**fields).rest() == fields
    with pytest.raises(GatewayError) as refused:
        Asked(call(**fields), deployment("two", provider="gemini")).rest()
    assert refused.value.param == "thinking"


@pytest.mark.parametrize(
    ("read", "value", "right"),
    [
        ("number", 0.5, True), ("number", 1, True), ("number", 1.5, False), ("number", True, False),
        ("number", "1", False), ("integer", 3, True), ("integer", -1, False), ("integer", 1.5, False),
        ("flag", True, True), ("flag", 1, False), ("stops", "x", True), ("stops", ["a", "b"], True),
        ("stops", ["a", "b", "c"], False), ("stops", [""], False), ("stops", 7, False),
    ],
)  # fmt: skip
def test_values_are_checked(read: str, value: Any, *, right: bool) -> None:
    """Types and ranges; nothing is bent into shape."""
    one = asked(stop=value)
    readers: dict[str, Callable[[], Any]] = {
        "number": lambda: one.number("stop", 0, 1),
        "integer": lambda: one.integer("stop"),
        "flag": lambda: one.flag("stop"),
        "stops": lambda: one.stops(2),
    }
    if right:
        assert readers[read]() == ([value] if value == "x" else value)
        return
    with pytest.raises(GatewayError) as refused:
        readers[read]()
    assert refused.value.param == "stop"
