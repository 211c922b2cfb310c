"""Gemini: generateContent, streamGenerateContent (alt=sse), batchEmbedContents, countTokens, and Google's errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import orjson

from tests.upstream import openai_read
from tests.upstream.dialect import Answer, Ask, Choice, Refused, Step
from tests.upstream.engine import embedding
from tests.upstream.gemini_read import chat_of
from tests.upstream.state import Settings
from tests.upstream.wire import Exchange

_ROOT = "/v1beta/models/"
_METHODS = {
    "generateContent": "chat", "streamGenerateContent": "chat", "batchEmbedContents": "embeddings",
    "countTokens": "count",
}  # fmt: skip
_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_BLOCKED = {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "HIGH", "blocked": True}
_SIGNATURE = "CiQBcsjafGFrZQ=="


class GeminiWire:
    """See `dialect.Dialect`."""

    name = "gemini"
    credentials = frozenset({b"x-goog-api-key"})
    named = False

    def claims(self, method: str, path: str) -> bool:
        """POST to a method of a model."""
        return method == "POST" and path.startswith(_ROOT)

    def read(self, exchange: Exchange, settings: Settings, now: float) -> Ask:
        """Parse and validate. Raises Refused."""
        path, _, query = exchange.path.partition("?")
        name, _, method = path.removeprefix(_ROOT).rpartition(":")
        model, operation = unquote(name), _METHODS[method]
        doc = openai_read.document(exchange)
        if operation == "embeddings":
            texts = [request["content"]["parts"][0]["text"] for request in doc["requests"]]
            chat: dict[str, Any] = {"model": model, "input": texts}
        else:
            inner = {name: value for name, value in doc.get("generateContentRequest", doc).items() if name != "model"}
            chat = chat_of(inner, model)
        ask = openai_read.ask_of(chat, operation, exchange, settings, now)
        if method == "streamGenerateContent":
            if query != "alt=sse":
                raise Refused(400, "only alt=sse is spoken here", violation="no_sse")
            ask.stream = exchange.record.stream = True
        ask.include_usage = True
        return ask

    def identify(self, ask: Ask, exchange: Exchange, now: float) -> None:
        """New id."""
        openai_read.identify(ask, exchange, now)

    def whole(self, ask: Ask, answer: Answer) -> bytes:
        """One answer."""
        if ask.operation == "count":
            return orjson.dumps({"totalTokens": ask.prompt_tokens})
        if ask.operation == "embeddings":
            return orjson.dumps(
                {"embeddings": [{"values": embedding(text, ask.behaviour.dims)} for text in ask.prompts]}
            )
        if ask.behaviour.prompt_filter:
            return orjson.dumps(_blocked(ask, answer))
        candidates = [_candidate(choice, _parts(choice), _end(choice)) for choice in answer.choices]
        return orjson.dumps({"candidates": candidates, **_rest(ask, answer)})

    def steps(self, ask: Ask, answer: Answer) -> list[Step]:
        """Pieces, each an answer of its own; calls come whole, the end rides on the last piece."""
        if ask.behaviour.prompt_filter:
            return [Step([orjson.dumps(_blocked(ask, answer))], 0)]
        steps = [Step([], 0)]
        for choice in answer.choices:
            parts = list(_pieces(choice, ask.behaviour.multi)) or [({"text": ""}, 0)]
            for place, (part, made) in enumerate(parts):
                end = _end(choice) if place == len(parts) - 1 and ask.behaviour.finish else {}
                doc = {"candidates": [_candidate(choice, [part], end)], **_rest(ask, answer)}
                steps.append(Step([orjson.dumps(doc)], made))
        return steps[1:]

    def error(self, status: int, refused: Refused, *, openai: bool) -> bytes:
        """Google's error."""
        return _error(status, refused.message, getattr(refused, "retry_after", None))

    def error_event(self, status: int, message: str, *, openai: bool) -> bytes:
        """The same, as an event."""
        return _error(status, message, None)

    def last_event(self) -> bytes | None:
        """A stream just ends."""
        return None


def _candidate(choice: Choice, parts: list[dict[str, Any]], end: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"parts": parts, "role": "model"}, "index": choice.index, **end}


def _parts(choice: Choice) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if choice.reasoning:
        parts.append({"text": "".join(choice.reasoning), "thought": True})
    text = "".join(choice.content or choice.refusal)
    if text:
        parts.append({"text": text})
    return parts + [_call(choice, place) for place in range(len(choice.tools))]


def _pieces(choice: Choice, multi: int) -> Any:
    for tokens, extra in ((choice.reasoning, {"thought": True}), (choice.content or choice.refusal, {})):
        for k in range(0, len(tokens), multi):
            yield {"text": "".join(tokens[k : k + multi]), **extra}, len(tokens[k : k + multi])
    for place, tool in enumerate(choice.tools):
        yield _call(choice, place), 1 + len(tool.parts)


def _call(choice: Choice, place: int) -> dict[str, Any]:
    """A call; the first of a turn is signed, and this fake gives no ids, as Gemini 2.5."""
    tool = choice.tools[place]
    try:
        arguments = orjson.loads("".join(tool.parts))
    except orjson.JSONDecodeError:
        arguments = {}
    call: dict[str, Any] = {"functionCall": {"name": tool.name, "args": arguments}}
    return call | ({"thoughtSignature": _SIGNATURE} if place == 0 else {})


def _end(choice: Choice) -> dict[str, Any]:
    reason = "SAFETY" if choice.refusal else _FINISH[choice.finish]
    return {"finishReason": reason} | ({"safetyRatings": [_BLOCKED]} if reason == "SAFETY" else {})


def _blocked(ask: Ask, answer: Answer) -> dict[str, Any]:
    rest = _rest(ask, answer)
    rest["usageMetadata"] = {"promptTokenCount": ask.prompt_tokens, "totalTokenCount": ask.prompt_tokens}
    return {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": [_BLOCKED]}, **rest}


def _rest(ask: Ask, answer: Answer) -> dict[str, Any]:
    rest: dict[str, Any] = {"modelVersion": ask.model, "responseId": ask.answer_id.partition("-")[2]}
    if answer.usage is None:
        return rest
    prompt, made = answer.usage
    thought = sum(len(choice.reasoning) for choice in answer.choices)
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": made - thought, "totalTokenCount": prompt + made}
    usage |= {"thoughtsTokenCount": thought} if thought else {}
    usage |= {"cachedContentTokenCount": ask.behaviour.cached} if ask.behaviour.cached else {}
    return rest | {"usageMetadata": usage}


def _error(status: int, message: str, retry_after: int | None) -> bytes:
    error: dict[str, Any] = {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}
    if retry_after is not None:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}
        error["details"] = [delay]
    return orjson.dumps({"error": error})
