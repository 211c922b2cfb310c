"""Whole requests for Anthropic: valid by its SDK's types, and what comes back out of them is what went in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.messages.request import understand
from app.errors import GatewayError
from app.exchange import JsonObject, Operation
from app.providers.anthropic.request import encode, encode_count
from tests.pipeline.parts import call, deployment
from tests.providers.dialogues import EVERYTHING, PARAMETERS, SCHEMA, TIME, WEATHER, conversations
from tests.support.vendor import anthropic_request

TO = deployment("two", provider="anthropic", model="claude-x", max_output_tokens=777)


def sent(**fields: Any) -> JsonObject:
    """The body that goes up, checked against the SDK's types."""
    body = encode(call(**fields), TO)
    assert anthropic_request(body) == []
    return body


def test_the_least() -> None:
    """The upstream's model, and the cap that Anthropic wants to be told."""
    assert sent() == {"model": "claude-x", "max_tokens": 777, "messages": [{"role": "user", "content": "hi"}]}


def test_everything() -> None:
    """Every parameter that has a counterpart."""
    body = sent(
        messages=EVERYTHING, tools=[WEATHER, TIME], tool_choice="required", parallel_tool_calls=False, stream=True,
        max_completion_tokens=50, temperature=0.5, top_p=0.9, top_k=40, stop="END", user="u-1",
        reasoning_effort="high", service_tier="default",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    )  # fmt: skip
    expected = {
        "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"], "stream": True,
        "system": "Be brief.", "metadata": {"user_id": "u-1"}, "service_tier": "standard_only",
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    assert body["tools"][0] == {"name": "get_weather", "description": "Weather of a city.", "input_schema": SCHEMA}


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "get_time"}}, {"type": "tool", "name": "get_time"}),
    ],
)
def test_choices_of_tools(choice: Any, meant: JsonObject) -> None:
    """In Anthropic's words."""
    assert sent(tools=[TIME], tool_choice=choice)["tool_choice"] == meant


def test_one_call_at_a_time_needs_a_choice() -> None:
    """Anthropic says it there."""
    assert sent(tools=[TIME], parallel_tool_calls=False)["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }


def test_thinking() -> None:
    """Anthropic's own field goes through; no effort at all is no thinking."""
    enabled = {"type": "enabled", "budget_tokens": 2048}
    assert sent(thinking=enabled)["thinking"] == enabled
    body = sent(reasoning_effort="none")
    assert (body["thinking"], body.get("output_config")) == ({"type": "disabled"}, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2), ("seed", 1), ("logprobs", True), ("frequency_penalty", 0.5), ("presence_penalty", 1),
        ("logit_bias", {"1": 1}), ("temperature", 1.5), ("response_format", {"type": "json_object"}),
        ("reasoning_effort", "minimal"), ("service_tier", "flex"), ("store", True), ("metadata", {"a": "b"}),
        ("functions", [{"name": "f"}]), ("modalities", ["audio"]), ("prediction", {"type": "content"}),
        ("web_search_options", {}), ("prompt_cache_key", "k"), ("verbosity", "low"), ("top_logprobs", 3),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name_or_dropped_on_purpose(name: str, value: Any) -> None:
    """Never silently."""
    fields = {name: value}
    with pytest.raises(GatewayError) as refused:
        encode(call(**fields), TO)
    assert (refused.value.status, refused.value.param) == (400, name)
    if name != "n":  # it bounds what a request may cost
        dropping = deployment("two", provider="anthropic", drop_params=[name])
        assert encode(call(**fields), dropping).keys() == {"model", "max_tokens", "messages"}


def test_unknown_fields_go_through() -> None:
    """Anthropic says what it thinks of them."""
    assert encode(call(betas=["x"]), TO)["betas"] == ["x"]


def test_a_prompt_to_count() -> None:
    """What it is made of, and nothing about the answer."""
    body = encode_count(call(messages=EVERYTHING, tools=[WEATHER], temperature=0.5), TO)
    assert body.keys() == {"model", "messages", "system", "tools"}


@given(messages=conversations(), parameters=PARAMETERS, stream=st.booleans())
def test_what_is_encoded_comes_back(messages: list[JsonObject], parameters: JsonObject, *, stream: bool) -> None:
    """Encoded for Anthropic and read as a body of `/v1/messages`, a request is the same again: nothing is lost."""
    if "tool_choice" in parameters:
        parameters |= {"tools": [WEATHER, TIME]}
    asked = call(messages=messages, stream=stream, **parameters)
    body = encode(asked, TO)
    assert anthropic_request(body) == []
    back = understand(Operation.CHAT, orjson.dumps(body)).body
    expected = {**asked.body, "model": "claude-x", "max_completion_tokens": asked.max_output_tokens or 777}
    expected["messages"] = [_joined(message) for message in expected["messages"]]
    for name, value in expected.items():
        if name != "stream":
            assert back.get(name) == value, name
    assert bool(back.get("stream")) is stream
    assert not back.keys() - expected.keys() - {"stream_options"}


def _joined(message: JsonObject) -> JsonObject:
    """A message as it comes back: arguments are written without blanks, what is null may be left out."""
    calls = message.get("tool_calls")
    if calls is None:
        return message
    for call_ in calls:
        call_["function"]["arguments"] = orjson.dumps(orjson.loads(call_["function"]["arguments"])).decode()
    return message
