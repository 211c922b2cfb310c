"""Azure OpenAI: OpenAI's format under a deployment's name, with annotations of the content filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import orjson

from tests.upstream import openai_read
from tests.upstream.dialect import Answer, Ask, Refused, Step
from tests.upstream.openai import OpenAI
from tests.upstream.state import Settings
from tests.upstream.wire import Exchange

_OPERATIONS = {"/chat/completions": "chat", "/completions": "completion", "/embeddings": "embeddings"}
_SAFE = {"filtered": False, "severity": "safe"}
_CATEGORIES = ("hate", "self_harm", "sexual", "violence")
_BLOCKED = {"hate": {"filtered": True, "severity": "high"}, "jailbreak": {"filtered": True, "detected": True}}


class AzureWire(OpenAI):
    """See `dialect.Dialect`."""

    name = "azure"
    credentials = frozenset({b"api-key"})

    def claims(self, method: str, path: str) -> bool:
        """POST under a deployment."""
        return method == "POST" and path.startswith("/openai/deployments/")

    def read(self, exchange: Exchange, settings: Settings, now: float) -> Ask:
        """Parse and validate. Raises Refused."""
        path, _, query = exchange.path.partition("?")
        if not query.startswith("api-version="):
            raise Refused(404, "Resource not found", violation="no_api_version")
        name, _, rest = path.removeprefix("/openai/deployments/").partition("/")
        doc = {**openai_read.document(exchange), "model": unquote(name)}
        ask = openai_read.ask_of(doc, _OPERATIONS[f"/{rest}"], exchange, settings, now)
        ask.behaviour = replace(ask.behaviour, openai=True)
        if ask.behaviour.prompt_filter:
            raise Blocked
        return ask

    def whole(self, ask: Ask, answer: Answer) -> bytes:
        """OpenAI's, annotated."""
        doc = orjson.loads(super().whole(ask, answer))
        if ask.operation == "chat":
            doc["prompt_filter_results"] = _prompt()
            for choice in doc["choices"]:
                choice["content_filter_results"] = _results(choice["finish_reason"])
        return orjson.dumps(doc)

    def steps(self, ask: Ask, answer: Answer) -> list[Step]:
        """OpenAI's, annotated; the prompt's annotations come first, in a chunk without choices."""
        steps = super().steps(ask, answer)
        if ask.operation != "chat":
            return steps
        for step in steps:
            step.events = [_annotated(event) for event in step.events]
        first = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": _prompt()}
        steps[0].events.insert(0, orjson.dumps(first))
        return steps

    def error(self, status: int, refused: Refused, *, openai: bool) -> bytes:
        """OpenAI's, but for a blocked prompt."""
        if not isinstance(refused, Blocked):
            return super().error(status, refused, openai=True)
        results = {**dict.fromkeys(_CATEGORIES, _SAFE), **_BLOCKED}
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results}
        error = {"message": refused.message, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
        return orjson.dumps({"error": {**error, "innererror": inner}})


class Blocked(Refused):
    """The prompt was blocked."""

    def __init__(self) -> None:
        super().__init__(400, "The response was filtered due to the prompt triggering the content management policy.")


def _prompt() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": dict.fromkeys(_CATEGORIES, _SAFE)}]


def _results(finish: str | None) -> dict[str, Any]:
    results = {name: dict(_SAFE) for name in _CATEGORIES}
    return results | ({"hate": {"filtered": True, "severity": "high"}} if finish == "content_filter" else {})


def _annotated(event: bytes) -> bytes:
    if event == b"[DONE]":
        return event
    doc = orjson.loads(event)
    for choice in doc["choices"]:
        choice["content_filter_results"] = _results(choice["finish_reason"])
    return orjson.dumps(doc)
