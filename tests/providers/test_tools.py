"""Tools, their choice, and the form of an answer: what is read, and every mistake named."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import GatewayError
from app.providers.tools import Choice, Form, Tool, choice, form, schema, tools
from tests.providers.dialogues import SCHEMA, TIME, WEATHER


def test_tools_are_read() -> None:
    """With description, schema and strictness; a missing schema takes no arguments, a bare one is an object's."""
    strict = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"properties": {}}}}
    assert tools([WEATHER, strict, {"type": "function", "function": {"name": "g"}}]) == [
        Tool("get_weather", "Weather of a city.", SCHEMA),
        Tool("f", None, {"type": "object", "properties": {}}, strict=True),
        Tool("g", None, {"type": "object", "properties": {}}),
    ]
    assert tools(None) == []


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("x", "tools"),
        ([7], "tools[0].type"),
        ([{"type": "web_search"}], "tools[0].type"),
        ([{"type": "function", "function": {}}], "tools[0].function.name"),
        ([{"type": "function", "function": {"name": "f", "description": 1}}], "tools[0].function.description"),
        ([{"type": "function", "function": {"name": "f", "strict": 1}}], "tools[0].function.strict"),
        ([{"type": "function", "function": {"name": "f", "parameters": []}}], "tools[0].function.parameters"),
        ([WEATHER, WEATHER], "tools[1].function.name"),
    ],
)
def test_malformed_tools_are_named(value: Any, param: str) -> None:
    """By their place."""
    with pytest.raises(GatewayError) as refused:
        tools(value)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("value", "param"),
    [(7, "x"), ({"type": "array"}, "x"), ({"properties": []}, "x"), ({"required": "city"}, "x.required")],
)
def test_a_schema_is_one_of_an_object(value: Any, param: str) -> None:
    """Arguments always are."""
    with pytest.raises(GatewayError) as refused:
        schema(value, "x")
    assert refused.value.param == param


def test_choices() -> None:
    """The four ways, and none."""
    offered = tools([WEATHER, TIME])
    named = {"type": "function", "function": {"name": "get_time"}}
    assert [choice(one, offered) for one in (None, "auto", "none", "required", named)] == [
        None, Choice("auto"), Choice("none"), Choice("any"), Choice("tool", "get_time"),
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["any", 7, {"type": "function"}, {"type": "function", "function": {"name": "nope"}}])
def test_wrong_choices(value: Any) -> None:
    """Also of a tool that is not offered; and without tools nothing can be chosen."""
    for offered in (tools([WEATHER]), []):
        with pytest.raises(GatewayError) as refused:
            choice(value, offered)
        assert refused.value.param == "tool_choice"


def test_forms() -> None:
    """Text is nothing special; JSON may have a schema."""
    assert form(None) is form({"type": "text"}) is None
    assert form({"type": "json_object"}) == Form(None)
    wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
    assert form(wanted) == Form(SCHEMA, "trip")
    for wrong in ("json", {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": 7}}):
        with pytest.raises(GatewayError) as refused:
            form(wrong)
        assert refused.value.param == "response_format"
