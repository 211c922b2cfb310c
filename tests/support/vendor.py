"""The vendors' own types, as validators: what is sent and what is received must be what their SDKs say it is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from anthropic.types import message_create_params
from google.genai import types
from openai.types.chat import completion_create_params
from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import get_type_hints, is_typeddict

from app.exchange import JsonObject

SAMPLING = frozenset({"temperature", "top_p", "top_k"})
"""Fields of Anthropic's API that its SDK types no longer list: its newest models refuse them."""


def problems(value: Any, kind: Any, place: str = "") -> Iterator[str]:
    """What about a JSON value is not as a `TypedDict` (or any other type) of an SDK says: nothing may be unknown.

    Written by hand because pydantic reads `Iterable` lazily and takes unknown keys of a `TypedDict` without a word.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated or str(origin).endswith("Required"):
        yield from problems(value, arguments[0], place)
    elif origin in (Union, UnionType):
        found = [list(problems(value, one, place)) for one in arguments]
        if all(found):
            yield from min(found, key=_closeness)
    elif origin is Literal:
        if value not in arguments:
            yield f"{place}: {value!r} is none of {arguments}"
    elif is_typeddict(kind):
        yield from _keys(value, kind, place)
    elif isinstance(value, list) and origin is not dict and arguments:
        for number, one in enumerate(value):
            yield from problems(one, arguments[0], f"{place}[{number}]")
    elif not _fits(value, origin or kind):
        yield f"{place}: {value!r} is no {kind}"


def _closeness(found: list[str]) -> tuple[int, int]:
    return sum("type" in one for one in found), len(found)


def _fits(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Any or kind is object:
        return True
    plain = isinstance(kind, type) and not issubclass(kind, BaseModel)  # a model is an answer, not JSON to send
    return plain and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _keys(value: Any, kind: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no {kind.__name__}"
        return
    hints = _hints(kind)
    extra = getattr(kind, "__pydantic_config__", {}).get("extra") == "allow"
    for name in kind.__required_keys__ - value.keys():
        yield f"{place}.{name}: missing in {kind.__name__}"
    for name, inner in value.items():
        if name in hints:
            yield from problems(inner, hints[name], f"{place}.{name}")
        elif not extra:
            yield f"{place}.{name}: unknown to {kind.__name__}"


def anthropic_request(body: JsonObject) -> list[str]:
    """What about a request is not as Anthropic's SDK says."""
    params = message_create_params
    kind = params.MessageCreateParamsStreaming if body.get("stream") else params.MessageCreateParamsNonStreaming
    return list(problems({name: value for name, value in body.items() if name not in SAMPLING}, kind))


def gemini_request(body: JsonObject) -> list[str]:
    """What about a request is not as Google's SDK says: its models forbid what they do not know."""
    kinds: dict[str, Any] = {
        "contents": list[types.Content], "systemInstruction": types.Content, "tools": list[types.Tool],
        "toolConfig": types.ToolConfig, "generationConfig": types.GenerationConfig,
        "safetySettings": list[types.SafetySetting],
    }  # fmt: skip
    found = [f"{name}: unknown" for name in body if name not in kinds]
    for name, value in body.items():
        try:
            adapter(kinds.get(name, Any)).validate_python(value)
        except ValidationError as error:
            found.append(f"{name}: {error}")
    return found


def openai_request(body: JsonObject) -> list[str]:
    """What about a chat request is not as OpenAI's SDK says."""
    params = completion_create_params
    kind = params.CompletionCreateParamsStreaming if body.get("stream") else params.CompletionCreateParamsNonStreaming
    return list(problems(body, kind))


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """A validator of an SDK's response type."""
    return TypeAdapter(kind)


def unknown(value: Any) -> Iterator[str]:
    """The names in it for which the SDK has no field."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name))
    elif isinstance(value, list):
        for one in value:
            yield from unknown(one)
