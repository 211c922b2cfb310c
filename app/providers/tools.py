"""OpenAI's `tools` and `tool_choice`, read for providers that speak differently."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.errors import refused
from app.exchange import JsonObject


class Tool(NamedTuple):
    """A function that the model may call; `parameters` is a JSON schema of an object."""

    name: str
    description: str | None
    parameters: JsonObject
    strict: bool | None = None
    cache: JsonObject | None = None


class Choice(NamedTuple):
    """How tools are to be used: `auto`, `none`, `any`, or `tool` with a `name`."""

    mode: str
    name: str | None = None


_MODES = {"auto": "auto", "none": "none", "required": "any"}


def tools(value: Any) -> list[Tool]:
    """The tools on offer. Raises `GatewayError` on one that is malformed."""
    if value is None:
        return []
    if type(value) is not list:
        raise refused("tools", "`tools` must be an array.")
    found = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(value)]
    names: set[str] = set()
    for number, tool in enumerate(found):
        if tool.name in names:
            place = f"tools[{number}].function.name"
            raise refused(place, f"`{place}` is `{tool.name[:64]}`, as that of another tool.")
        names.add(tool.name)
    return found


def _tool(tool: Any, place: str) -> Tool:
    if type(tool) is not dict or tool.get("type") != "function" or type(tool.get("function")) is not dict:
        raise refused(f"{place}.type", f"`{place}` must be a tool of type `function`, with a `function` object.")
    function: JsonObject = tool["function"]
    name, description, strict = function.get("name"), function.get("description"), function.get("strict")
    if type(name) is not str or not name:
        raise refused(f"{place}.function.name", f"`{place}.function.name` must be a non-empty string.")
    if description is not None and type(description) is not str:
        raise refused(f"{place}.function.description", f"`{place}.function.description` must be a string.")
    if strict is not None and type(strict) is not bool:
        raise refused(f"{place}.function.strict", f"`{place}.function.strict` must be true or false.")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    return Tool(
        name, description, schema(parameters, f"{place}.function.parameters"), strict, tool.get("cache_control")
    )


def schema(value: Any, place: str) -> JsonObject:
    """A JSON schema of an object. Raises `GatewayError` where it is none."""
    if type(value) is not dict:
        raise refused(place, f"`{place}` must be a JSON schema.")
    if value.get("type", "object") != "object" or type(value.get("properties", {})) is not dict:
        raise refused(place, f"`{place}` must be the JSON schema of an object.")
    required = value.get("required", [])
    if type(required) is not list or not all(type(name) is str for name in required):
        raise refused(f"{place}.required", f"`{place}.required` must be an array of names.")
    return value if "type" in value else {"type": "object", **value}


def choice(value: Any, offered: list[Tool]) -> Choice | None:
    """How tools are to be used; None where nothing is said. Raises `GatewayError`."""
    if value is None:
        return None
    if not offered:
        raise refused("tool_choice", "`tool_choice` is only allowed together with `tools`.")
    if type(value) is str and value in _MODES:
        return Choice(_MODES[value])
    function = value.get("function") if type(value) is dict and value.get("type") == "function" else None
    name = function.get("name") if type(function) is dict else None
    if type(name) is not str:
        raise refused("tool_choice", "`tool_choice` must be `auto`, `none`, `required` or name a function.")
    if all(tool.name != name for tool in offered):
        raise refused("tool_choice", f"`tool_choice` names `{name[:64]}`, which is not among `tools`.")
    return Choice("tool", name)


class Form(NamedTuple):
    """The form of the answer: JSON, by `schema` where there is one."""

    schema: JsonObject | None
    name: str = "answer"


def form(value: Any) -> Form | None:
    """What `response_format` asks for; None for plain text."""
    kind = value.get("type") if type(value) is dict else value
    if kind is None or kind == "text":
        return None
    if kind == "json_object":
        return Form(None)
    wanted = value.get("json_schema") if type(value) is dict and kind == "json_schema" else None
    if type(wanted) is not dict or type(wanted.get("schema")) is not dict:
        raise refused("response_format", "`response_format` must be `text`, `json_object` or a `json_schema`.")
    return Form(wanted["schema"], str(wanted.get("name") or "answer"))
