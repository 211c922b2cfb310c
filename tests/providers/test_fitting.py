"""Bodies that do not go up as they came: dropped fields, the name of the cap, hints of another shape."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import GatewayError
from app.providers.fitting import fitted
from tests.pipeline.parts import call, deployment
from tests.providers.dialogues import WEATHER, tool_call

HINT = {"type": "ephemeral"}


def test_drop_params() -> None:
    """What the operator listed does not go up."""
    asked = call(temperature=1, seed=3)
    assert fitted(asked.body, asked, deployment(drop_params=["temperature"])).keys() == {"model", "messages", "seed"}


@pytest.mark.parametrize("given", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("wanted", ["max_tokens", "max_completion_tokens"])
def test_the_cap_has_the_name_that_the_deployment_takes(given: str, wanted: str) -> None:
    """Its value is the caller's; without one there is none."""
    fields: dict[str, Any] = {given: 9}
    asked = call(**fields)
    sent = fitted(asked.body, asked, deployment("two", output_cap=wanted))
    assert {name: value for name, value in sent.items() if name.startswith("max_")} == {wanted: 9}
    asked = call()
    assert fitted(asked.body, asked, deployment("two", output_cap=wanted)) == asked.body


def test_hints_without_an_effect_stay_here() -> None:
    """Cache breakpoints, signatures, marks of failure; the rest of the body is untouched."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": HINT}]},
        {
            "role": "assistant",
            "content": None,
            "thinking_blocks": [{"type": "thinking", "thinking": "x", "signature": "s"}],
            "tool_calls": [tool_call("c", "get_weather") | {"cache_control": HINT}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "no", "is_error": True, "cache_control": HINT},
    ]
    fields: dict[str, Any] = {
        "cache_control": HINT,
        "thinking": {"type": "disabled"},
        "tools": [WEATHER | {"cache_control": HINT}],
    }
    asked = call(messages=messages, **fields)._replace(foreign=True)
    sent = fitted(asked.body, asked, deployment())
    assert sent == {
        "model": "chat",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": None, "tool_calls": [tool_call("c", "get_weather")]},
            {"role": "tool", "tool_call_id": "c", "content": "no"},
        ],
        "tools": [WEATHER],
    }
    assert "cache_control" in asked.body["messages"][0]["content"][0]


def test_what_would_change_the_answer_is_refused() -> None:
    """Unless it is dropped on purpose. vLLM would read over it without a word."""
    asked = call(thinking={"type": "enabled", "budget_tokens": 1024})._replace(foreign=True)
    with pytest.raises(GatewayError) as refused:
        fitted(asked.body, asked, deployment())
    assert refused.value.param == "thinking"
    assert "thinking" not in fitted(asked.body, asked, deployment(drop_params=["thinking"]))
