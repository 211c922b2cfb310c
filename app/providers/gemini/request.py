"""A chat request as Gemini's `generateContent`."""

from __future__ import annotations

from typing import Any, Final

from app.exchange import Call, JsonObject
from app.providers.asked import Asked
from app.providers.conversation import turns
from app.providers.gemini.contents import split
from app.providers.tools import Choice, Tool, choice, form, tools
from app.table import Deployment

_LEVELS: Final = ("minimal", "low", "medium", "high")
_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Tokens of thought that Google's own OpenAI endpoint gives to Gemini 2.5, which knows no levels."""
_MODES: Final = {"auto": "AUTO", "none": "NONE", "any": "ANY", "tool": "ANY"}
_MOST_STOPS: Final = 5


def encode(call: Call, deployment: Deployment) -> JsonObject:
    """The body. Raises `GatewayError` for what Gemini cannot do."""
    asked = Asked(call, deployment)
    system, contents = split(turns(asked.take("messages")))
    body: JsonObject = {"contents": contents}
    if system is not None:
        body["systemInstruction"] = system
    _tools(asked, body)
    config = _sampling(asked)
    _output(asked, config, deployment)
    rest = asked.rest()
    own = rest.pop("generationConfig", None)
    config = {**(own if type(own) is dict else {}), **config}
    return {**rest, **body} | ({"generationConfig": config} if config else {})


def encode_count(call: Call, deployment: Deployment) -> JsonObject:
    """The body of `countTokens`."""
    prompt = call.body.get("prompt")
    if prompt is not None:
        return {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    body = encode(call, deployment)
    body.pop("generationConfig", None)
    return {"generateContentRequest": {"model": f"models/{deployment.model.removeprefix('models/')}", **body}}


def _tools(asked: Asked, body: JsonObject) -> None:
    offered = tools(asked.take("tools"))
    if offered:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in offered]}]
    if asked.flag("parallel_tool_calls") is False and offered:
        raise asked.cannot("parallel_tool_calls", "it calls as many tools at a time as it wants")
    wanted = choice(asked.take("tool_choice"), offered)
    strict = any(tool.strict for tool in offered)
    if wanted is None and strict:
        wanted = Choice("auto")
    if wanted is not None:
        mode = "VALIDATED" if strict and wanted.mode == "auto" else _MODES[wanted.mode]
        named = {"allowedFunctionNames": [wanted.name]} if wanted.name else {}
        body["toolConfig"] = {"functionCallingConfig": {"mode": mode, **named}}


def _declaration(tool: Tool) -> JsonObject:
    described = {} if tool.description is None else {"description": tool.description}
    return {"name": tool.name, **described, "parametersJsonSchema": tool.parameters}


def _sampling(asked: Asked) -> JsonObject:
    newer, older = asked.integer("max_completion_tokens", 1), asked.integer("max_tokens", 1)
    choices = asked.integer("n", 1)
    values: dict[str, Any] = {
        "maxOutputTokens": newer or older,
        "temperature": asked.number("temperature", 0, 2),
        "topP": asked.number("top_p", 0, 1),
        "topK": asked.integer("top_k", 1),
        "candidateCount": None if choices == 1 else choices,
        "stopSequences": asked.stops(_MOST_STOPS) or None,
        "seed": asked.take("seed"),
        "presencePenalty": asked.number("presence_penalty", -2, 2) or None,
        "frequencyPenalty": asked.number("frequency_penalty", -2, 2) or None,
    }
    if asked.flag("logprobs"):
        values["responseLogprobs"] = True
        values["logprobs"] = asked.integer("top_logprobs") or None
    return {name: value for name, value in values.items() if value is not None}


def _output(asked: Asked, config: JsonObject, deployment: Deployment) -> None:
    """The form of the answer, and how much is thought about it."""
    wanted = form(asked.take("response_format"))
    if wanted is not None:
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = wanted.schema
    effort = asked.take("reasoning_effort")
    if effort is None:
        return
    if deployment.model.removeprefix("models/").startswith("gemini-2."):
        if type(effort) is not str or effort not in _BUDGETS:
            raise asked.cannot("reasoning_effort", f"it knows {', '.join(_BUDGETS)}")
        config["thinkingConfig"] = {"thinkingBudget": _BUDGETS[effort], "includeThoughts": effort != "none"}
        return
    if effort not in _LEVELS:
        raise asked.cannot("reasoning_effort", f"it knows {', '.join(_LEVELS)}")
    config["thinkingConfig"] = {"thinkingLevel": effort.upper(), "includeThoughts": True}
