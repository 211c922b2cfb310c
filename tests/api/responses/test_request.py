"""Bodies of `/v1/responses` as chat requests; what needs storage is refused by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.api.responses.request import understand
from app.errors import GatewayError
from app.exchange import Call, Operation
from tests.providers.dialogues import SCHEMA
from tests.support.vendor import openai_request

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}


def understood(**fields: Any) -> Call:
    """The call that a body means."""
    return understand(Operation.CHAT, orjson.dumps({"model": "m", "input": "hi", **fields}))


def test_the_least() -> None:
    """A chat, which may be stored nowhere."""
    call = understood(store=False, metadata={}, previous_response_id=None, tool_choice="auto", truncation="disabled")
    assert call.body == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert call.foreign


def test_everything() -> None:
    """In OpenAI's other words, valid by its SDK."""
    call = understood(
        instructions="s", stream=True, max_output_tokens=9, temperature=0.5, top_p=0.9, tools=[TOOL],
        tool_choice={"type": "function", "name": "f"}, parallel_tool_calls=False, user="u",
        reasoning={"effort": "high", "summary": "auto"}, include=["message.output_text.logprobs"], top_logprobs=2,
        text={"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    )  # fmt: skip
    assert openai_request(call.body) == []
    assert call.body == {
        "model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
        "stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 9, "temperature": 0.5,
        "top_p": 0.9, "user": "u", "parallel_tool_calls": False, "reasoning_effort": "high", "verbosity": "low",
        "logprobs": True, "top_logprobs": 2, "tool_choice": {"type": "function", "function": {"name": "f"}},
        "tools": [{"type": "function", "function": {name: TOOL[name] for name in TOOL if name != "type"}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
    }  # fmt: skip
    assert understood(text={"format": {"type": "json_object"}}).body["response_format"] == {"type": "json_object"}
    assert "response_format" not in understood(text={"format": {"type": "text"}}).body
    assert understood(tools=[TOOL], tool_choice="required").body["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"), ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"), ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"metadata": {"a": "b"}}, "metadata"), ({"max_tool_calls": 3}, "max_tool_calls"), ({"n": 2}, "n"),
        ({"context_management": [{}]}, "context_management"), ({"moderation": {"a": 1}}, "moderation"),
        ({"truncation": "auto"}, "truncation"), ({"include": ["file_search_call.results"]}, "include"),
        ({"model": None}, "model"), ({"stream": 1}, "stream"), ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"instructions": 7}, "instructions"), ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"), ({"tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"text": 7}, "text"), ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"), ({"input": None}, "input"),
        ({"text": {"format": 7}}, "text.format"), ({"text": {"format": []}}, "text.format"),
        ({"include": 7}, "include"), ({"include": [{}]}, "include"),
        ({"input": [{"role": {}, "content": "a"}]}, "input[0].role"),
    ],
)  # fmt: skip
def test_mistakes_and_storage_are_named(fields: dict[str, Any], param: str) -> None:
    """With what to do instead."""
    with pytest.raises(GatewayError) as refused:
        understood(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
