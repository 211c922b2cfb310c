"""Whole requests for Gemini, valid by Google's SDK; what it cannot do is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from app.errors import GatewayError
from app.exchange import JsonObject, Operation
from app.providers.gemini.request import encode, encode_count
from tests.pipeline.parts import call, deployment
from tests.providers.dialogues import EVERYTHING, PARAMETERS, SCHEMA, TIME, WEATHER, conversations
from tests.support.vendor import gemini_request

TO = deployment("two", provider="gemini", model="gemini-3-pro")
OLDER = deployment("two", provider="gemini", model="models/gemini-2.5-flash")


def sent(to: Any = TO, **fields: Any) -> JsonObject:
    """The body that goes up, checked against the SDK's types."""
    body = encode(call(**fields), to)
    assert gemini_request(body) == []
    return body


def test_the_least() -> None:
    """No more than what was said."""
    assert sent() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_everything() -> None:
    """Every parameter that has a counterpart."""
    body = sent(
        messages=EVERYTHING, tools=[WEATHER, TIME], tool_choice="required", max_tokens=50, temperature=1.5, top_p=0.9,
        top_k=40, stop=["END"], n=2, seed=7, presence_penalty=0.5, frequency_penalty=-0.5, logprobs=True,
        top_logprobs=3, user="u", reasoning_effort="high", safetySettings=[],
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    )  # fmt: skip
    assert body["generationConfig"] == {
        "maxOutputTokens": 50, "temperature": 1.5, "topP": 0.9, "topK": 40, "stopSequences": ["END"],
        "candidateCount": 2, "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": -0.5, "responseLogprobs": True,
        "logprobs": 3, "responseMimeType": "application/json", "responseJsonSchema": SCHEMA,
        "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
    }  # fmt: skip
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    declared = body["tools"][0]["functionDeclarations"]
    assert [one["name"] for one in declared] == ["get_weather", "get_time"]
    assert declared[0]["parametersJsonSchema"] == SCHEMA
    assert body["safetySettings"] == []


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ({"type": "function", "function": {"name": "get_time"}}, {"mode": "ANY", "allowedFunctionNames": ["get_time"]}),
    ],
)
def test_choices_of_tools(choice: Any, meant: JsonObject) -> None:
    """In Gemini's words."""
    assert sent(tools=[TIME], tool_choice=choice)["toolConfig"]["functionCallingConfig"] == meant


def test_strict_tools_are_validated() -> None:
    """Gemini's mode for calls that keep to their schema."""
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    assert sent(tools=[strict])["toolConfig"]["functionCallingConfig"] == {"mode": "VALIDATED"}


def test_thinking_by_level_or_by_budget() -> None:
    """Gemini 2.5 knows no levels."""
    assert sent(OLDER, reasoning_effort="none")["generationConfig"]["thinkingConfig"] == {
        "thinkingBudget": 0, "includeThoughts": False,
    }  # fmt: skip
    assert sent(OLDER, reasoning_effort="medium")["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 8192


def test_the_callers_own_configuration_is_kept() -> None:
    """Beside what was translated, which has the last word."""
    own = {"mediaResolution": "MEDIA_RESOLUTION_LOW", "temperature": 0.1}
    assert sent(generationConfig=own, temperature=0.5)["generationConfig"] == {**own, "temperature": 0.5}
    assert sent(response_format={"type": "json_object"})["generationConfig"] == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_bias", {"1": 1}), ("reasoning_effort", "xhigh"), ("reasoning_effort", "none"), ("store", True),
        ("temperature", 3), ("service_tier", "flex"), ("stop", ["a", "b", "c", "d", "e", "f"]),
        ("metadata", {"a": "b"}),
        ("functions", [{"name": "f"}]), ("thinking", {"type": "enabled", "budget_tokens": 1024}), ("verbosity", "low"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name_or_dropped_on_purpose(name: str, value: Any) -> None:
    """Never silently."""
    fields = {name: value}
    with pytest.raises(GatewayError) as refused:
        encode(call(**fields), TO)
    assert (refused.value.status, refused.value.param) == (400, name)
    dropping = deployment("two", provider="gemini", drop_params=[name])
    assert encode(call(**fields), dropping).keys() == {"contents"}


def test_one_call_at_a_time() -> None:
    """Cannot be asked for."""
    with pytest.raises(GatewayError) as refused:
        encode(call(tools=[TIME], parallel_tool_calls=False), TO)
    assert refused.value.param == "parallel_tool_calls"


def test_a_prompt_to_count() -> None:
    """A text, or a conversation with its tools."""
    assert encode_count(call(Operation.TOKENIZE, prompt="a b"), TO) == {
        "contents": [{"role": "user", "parts": [{"text": "a b"}]}]
    }
    asked = call(Operation.TOKENIZE, prompt=None, messages=EVERYTHING, tools=[WEATHER])
    inner = encode_count(asked, OLDER)["generateContentRequest"]
    assert inner.pop("model") == "models/gemini-2.5-flash"
    assert gemini_request(inner) == []
    assert inner.keys() == {"contents", "systemInstruction", "tools"}


@settings(max_examples=50)
@given(messages=conversations(), parameters=PARAMETERS)
def test_any_request_is_valid(messages: list[JsonObject], parameters: JsonObject) -> None:
    """By the SDK's types."""
    if "tool_choice" in parameters:
        parameters |= {"tools": [WEATHER, TIME]}
    sent(messages=messages, **parameters)
