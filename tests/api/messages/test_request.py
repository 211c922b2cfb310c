"""Bodies of `/v1/messages` as chat requests; that nothing is lost on the way is tested with Anthropic's dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.api.messages.request import understand
from app.errors import GatewayError
from app.exchange import Call, Operation
from tests.providers.dialogues import SCHEMA

LEAST: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}
TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}


def understood(operation: Operation = Operation.CHAT, **fields: Any) -> Call:
    """The call that a body means."""
    return understand(operation, orjson.dumps({**LEAST, **fields}))


def test_the_least() -> None:
    """A chat with a cap."""
    call = understood()
    assert call.body == {"model": "m", "messages": LEAST["messages"], "max_completion_tokens": 9}
    assert (call.stream, call.max_output_tokens, call.foreign, call.size) == (False, 9, True, len(orjson.dumps(LEAST)))


def test_everything() -> None:
    """Each field in OpenAI's words; what nobody translates goes through."""
    call = understood(
        system="s", stream=True, stop_sequences=["END"], temperature=0.5, top_p=0.9, top_k=4,
        metadata={"user_id": "u"}, service_tier="standard_only", tools=[{**TOOL, "strict": True}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
        thinking={"type": "adaptive"}, speed="fast",
    )  # fmt: skip
    assert call.include_usage
    assert call.body == {
        "model": "m", "messages": [{"role": "system", "content": "s"}, *LEAST["messages"]],
        "max_completion_tokens": 9, "stream": True, "stream_options": {"include_usage": True}, "stop": ["END"],
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "user": "u", "service_tier": "default",
        "tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}],
        "tool_choice": "required", "parallel_tool_calls": False, "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
        "thinking": {"type": "adaptive"}, "speed": "fast",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_choices(choice: Any, meant: Any) -> None:
    """Of tools."""
    assert understood(tools=[TOOL], tool_choice=choice).body["tool_choice"] == meant


def test_a_prompt_to_count() -> None:
    """Without a cap, and nothing about the answer."""
    body = {**LEAST, "tools": [TOOL]}
    del body["max_tokens"]
    call = understand(Operation.TOKENIZE, orjson.dumps(body))
    assert call.body.keys() == {"model", "messages", "tools"}
    assert (call.operation, call.size) == (Operation.TOKENIZE, 0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"), ({"model": ""}, "model"), ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": "9"}, "max_tokens"), ({"stream": 1}, "stream"),
        ({"messages": []}, "messages"), ({"messages": "hi"}, "messages"), ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"), ({"n": 2}, "n"),
        ({"system": 7}, "system"), ({"tools": "x"}, "tools"), ({"tools": [7]}, "tools[0].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"), ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": "auto"}, "tool_choice"), ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"stop_sequences": "x"}, "stop_sequences"), ({"stop_sequences": [1]}, "stop_sequences"),
        ({"metadata": {"user_id": 7}}, "metadata"), ({"metadata": 7}, "metadata"),
        ({"service_tier": "x"}, "service_tier"), ({"output_config": 7}, "output_config"),
        ({"output_config": {"format": {"type": "x"}}}, "output_config.format"), ({"service_tier": {}}, "service_tier"),
        ({"tool_choice": {"type": []}}, "tool_choice"),
    ],
)  # fmt: skip
def test_mistakes_are_named(fields: dict[str, Any], param: str) -> None:
    """In Anthropic's terms."""
    with pytest.raises(GatewayError) as refused:
        understood(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_a_count_is_no_stream() -> None:
    """It is one number."""
    with pytest.raises(GatewayError) as refused:
        understood(Operation.TOKENIZE, stream=True)
    assert refused.value.param == "stream"
