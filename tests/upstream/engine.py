"""Makes the answer to a request: which tokens, how many, and what usage will say. Knows no wire format."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any

import orjson

from tests.upstream.dialect import Answer, Ask, Choice, Tool
from tests.upstream.words import generated, pieces

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_ARGUMENT_PIECE = 4  # characters of a tool's arguments per token


def answer(ask: Ask) -> Answer:
    """The answer, complete; the stream is cut from it. An embedding has no tokens of its own."""
    each, factor = ask.choices, ask.behaviour.usage_factor
    if ask.operation == "count":
        return Answer([], 0, 0, None)
    if ask.operation == "embeddings":
        return Answer([], 0, 0, (ask.prompt_tokens * factor, 0) if factor else None)
    choices = [_choice(ask, ask.prompts[index // each], index) for index in range(len(ask.prompts) * each)]
    sizes = [choice.tokens for choice in choices]
    made = sum(sizes)
    return Answer(choices, made, max(sizes), (ask.prompt_tokens * factor, made * factor) if factor else None)


def _choice(ask: Ask, prompt: str, index: int) -> Choice:
    behaviour = ask.behaviour
    choice = Choice(index)
    if behaviour.reasoning:
        choice.reasoning = generated(behaviour.reasoning, 7, unicode=False)
    if ask.tools:
        _call_tools(ask, choice)
        return choice
    tokens = _text(ask, prompt, index)
    if ask.stop:
        tokens, choice.stopped = _stopped(tokens, ask.stop)
    if ask.cap is not None and len(choice.reasoning) + len(tokens) > ask.cap:
        choice.reasoning = choice.reasoning[: ask.cap]
        tokens = tokens[: ask.cap - len(choice.reasoning)]
        choice.finish = "length"
    if behaviour.content_filter:
        choice.finish = "content_filter"
    if behaviour.refusal:
        choice.refusal = tokens
    else:
        choice.content = tokens
    return choice


def _text(ask: Ask, prompt: str, index: int) -> tuple[str, ...]:
    behaviour = ask.behaviour
    wanted = behaviour.answer
    if ask.doc.get("ignore_eos") and ask.cap is not None:
        wanted = ask.cap
    if behaviour.big is not None:
        return ("x" * behaviour.big,)
    form = ask.doc.get("response_format")
    if isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}:
        schema = (
            form.get("json_schema", {}).get("schema", {})
            if form["type"] == "json_schema"
            else {"properties": {"answer": {"type": "string"}}}
        )
        return tuple(_cut(orjson.dumps(instance(schema, schema)).decode()))
    if wanted is not None:
        return generated(wanted, (ask.seed + index) % 997, unicode=behaviour.unicode)
    return tuple(pieces(prompt))


def _stopped(tokens: tuple[str, ...], stops: Iterable[str]) -> tuple[tuple[str, ...], str | None]:
    """Tokens up to the first stop string, and which it was; the token in which it stands is cut short."""
    text = "".join(tokens)
    ends = [(text.find(stop), stop) for stop in stops if stop in text]
    if not ends:
        return tokens, None
    (left, met), kept = min(ends), []
    for token in tokens:
        if left <= 0:
            break
        kept.append(token[:left])
        left -= len(token)
    return tuple(kept), met


def _call_tools(ask: Ask, choice: Choice) -> None:
    """Call what is wanted, as far as the cap reaches; a call that was cut is no valid JSON, as with a real model."""
    choice.finish = "tool_calls"
    left = ask.cap if ask.cap is not None else 1 << 30
    choice.reasoning = choice.reasoning[:left]
    left -= len(choice.reasoning)
    calls = []
    for number, offered in enumerate(ask.tools):
        tool = _tool(ask, number, offered)
        if left <= len(tool.parts):
            choice.finish = "length"
            calls += [Tool(tool.id, tool.name, tool.parts[: left - 1])] if left > 0 else []
            break
        calls.append(tool)
        left -= 1 + len(tool.parts)
    choice.tools = tuple(calls)


def _tool(ask: Ask, number: int, offered: dict[str, Any]) -> Tool:
    function = offered.get("function", offered)
    arguments = orjson.dumps(instance(function.get("parameters") or {}, function.get("parameters") or {})).decode()
    return Tool(
        f"chatcmpl-tool-{zlib.crc32(f'{ask.answer_id}{number}'.encode()):08x}",
        str(function.get("name")),
        tuple(_cut(arguments)),
    )


def _cut(text: str) -> list[str]:
    return [text[k : k + _ARGUMENT_PIECE] for k in range(0, len(text), _ARGUMENT_PIECE)]


def instance(schema: Any, root: Any, depth: int = 0) -> Any:
    """The plainest value that a JSON schema allows (local `$ref`s are followed, eight levels deep)."""
    if not isinstance(schema, dict) or depth > 8:
        return None
    if "$ref" in schema:
        return instance(_resolved(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return instance(schema[several][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance(inner, root, depth + 1) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}), root, depth + 1) for _ in range(max(1, schema.get("minItems", 1)))]
    return {
        "string": "Paris",
        "integer": schema.get("minimum", 1),
        "number": schema.get("minimum", 1.5),
        "boolean": True,
    }.get(kind)


def _resolved(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found


def embedding(text: str, dims: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    source = random.Random(zlib.crc32(text.encode()))
    vector = [source.uniform(-1, 1) for _ in range(dims)]
    length = sum(x * x for x in vector) ** 0.5
    return [x / length for x in vector]


def logprob(token: str, position: int) -> float:
    """A plausible number that depends on token and position alone."""
    return -((zlib.crc32(token.encode()) + position) % 4000 + 1) / 1000
