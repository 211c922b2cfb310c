"""Anthropic's messages, whole and streamed, field by field as its API documents them; its errors; its counting."""

from __future__ import annotations

from typing import Any

import orjson

from tests.upstream import openai_read
from tests.upstream.anthropic_read import chat_of
from tests.upstream.dialect import Answer, Ask, Choice, Refused, Step
from tests.upstream.state import Settings
from tests.upstream.wire import Exchange

PATHS = frozenset({"/v1/messages", "/v1/messages/count_tokens"})
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"


class AnthropicWire:
    """See `dialect.Dialect`."""

    name = "anthropic"
    credentials = frozenset({b"authorization", b"x-api-key"})  # the SDK sends the first, the API takes both
    named = True

    def claims(self, method: str, path: str) -> bool:
        """POST to one of the two paths."""
        return method == "POST" and path in PATHS

    def read(self, exchange: Exchange, settings: Settings, now: float) -> Ask:
        """Parse and validate. Raises Refused."""
        if not exchange.header(b"anthropic-version"):
            raise Refused(400, "anthropic-version: header is required", violation="no_version")
        doc = openai_read.document(exchange)
        counted = exchange.path.endswith("/count_tokens")
        ask = openai_read.ask_of(chat_of(doc, counted=counted), "count" if counted else "chat", exchange, settings, now)
        ask.include_usage = True
        self.identify(ask, exchange, now)
        return ask

    def identify(self, ask: Ask, exchange: Exchange, now: float) -> None:
        """New id."""
        openai_read.identify(ask, exchange, now)
        ask.answer_id = "msg_" + ask.answer_id.partition("-")[2]

    def whole(self, ask: Ask, answer: Answer) -> bytes:
        """A message, or a count."""
        if ask.operation == "count":
            return orjson.dumps({"input_tokens": ask.prompt_tokens})
        choice = answer.choices[0]
        content: list[dict[str, Any]] = []
        if choice.reasoning:
            content.append({"type": "thinking", "thinking": "".join(choice.reasoning), "signature": _SIGNATURE})
        text = "".join(choice.content or choice.refusal)
        if text:
            content.append({"type": "text", "text": text, "citations": None})
        for tool in choice.tools:
            arguments = "".join(tool.parts)
            content.append({"type": "tool_use", "id": _tool_id(tool.id), "name": tool.name, "input": _input(arguments)})
        return orjson.dumps({**_message(ask, answer), "content": content, **_end(choice)})

    def steps(self, ask: Ask, answer: Answer) -> list[Step]:
        """Events, one step per token."""
        choice = answer.choices[0]
        begun = {**_message(ask, answer, made=1), "content": [], "stop_reason": None, "stop_sequence": None}
        first = [orjson.dumps({"type": "message_start", "message": begun}), b'{"type":"ping"}']
        made = _Blocks(first)
        made.block("thinking", {"thinking": "", "signature": ""}, "thinking_delta", "thinking", choice.reasoning, ask)
        if choice.reasoning:
            made.delta({"type": "signature_delta", "signature": _SIGNATURE}, 0)
        texts = choice.content or choice.refusal
        made.block("text", {"text": "", "citations": None}, "text_delta", "text", texts, ask)
        for tool in choice.tools:
            head = {"id": _tool_id(tool.id), "name": tool.name, "input": {}}
            made.block("tool_use", head, "input_json_delta", "partial_json", tool.parts, ask, extra=1)
        made.close()
        steps = made.steps
        if ask.behaviour.finish:
            delta = {"type": "message_delta", "delta": _end(choice), "usage": _usage(ask, answer)}
            steps[-1].events.append(orjson.dumps(delta))
        if ask.behaviour.done:
            steps[-1].events.append(b'{"type":"message_stop"}')
        return steps

    def error(self, status: int, refused: Refused, *, openai: bool) -> bytes:
        """An error body."""
        return _error(status, refused.message)

    def error_event(self, status: int, message: str, *, openai: bool) -> bytes:
        """An error event."""
        return _error(529 if status == 503 else status, message)

    def last_event(self) -> bytes | None:
        """An error ends a stream by itself."""
        return None


class _Blocks:
    """Puts the events of blocks into steps."""

    def __init__(self, first: list[bytes]) -> None:
        self.steps = [Step(first, 0)]
        self._index = -1
        self._fresh = True

    def block(
        self,
        kind: str,
        head: dict[str, Any],
        delta: str,
        field: str,
        tokens: tuple[str, ...],
        ask: Ask,
        *,
        extra: int = 0,
    ) -> None:
        """A block and its deltas; nothing where there are no tokens, unless the block says something by itself."""
        if not tokens and not extra:
            return
        self.close()
        self._index += 1
        opened = {"type": "content_block_start", "index": self._index, "content_block": {"type": kind, **head}}
        self._put(orjson.dumps(opened), extra)
        multi = ask.behaviour.multi
        for k in range(0, len(tokens), multi):
            some = tokens[k : k + multi]
            self._fresh = self._fresh or k > 0 or bool(extra)
            self.delta({"type": delta, field: "".join(some)}, len(some))

    def delta(self, delta: dict[str, Any], made: int) -> None:
        """One delta of the open block."""
        self._put(orjson.dumps({"type": "content_block_delta", "index": self._index, "delta": delta}), made)

    def close(self) -> None:
        """The end of the open block."""
        if self._index >= 0:
            self.steps[-1].events.append(orjson.dumps({"type": "content_block_stop", "index": self._index}))

    def _put(self, event: bytes, made: int) -> None:
        """Into the last step as long as it has no tokens yet, else into a new one."""
        last = self.steps[-1]
        if last.tokens and made:
            self.steps.append(Step([event], made))
        else:
            last.events.append(event)
            last.tokens += made


def _message(ask: Ask, answer: Answer, *, made: int | None = None) -> dict[str, Any]:
    usage = _usage(ask, answer)
    if made is not None:
        usage["output_tokens"] = made
    usage |= {
        "cache_creation": {"ephemeral_5m_input_tokens": ask.behaviour.cache_write, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }
    return {"id": ask.answer_id, "type": "message", "role": "assistant", "model": ask.model, "usage": usage}


def _usage(ask: Ask, answer: Answer) -> dict[str, Any]:
    prompt, made = answer.usage or (0, 0)
    cached, written = ask.behaviour.cached or 0, ask.behaviour.cache_write
    thought = sum(len(choice.reasoning) for choice in answer.choices)
    return {
        "input_tokens": max(prompt - cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": made,
        "output_tokens_details": {"thinking_tokens": thought},
    }


def _end(choice: Choice) -> dict[str, Any]:
    reason = "refusal" if choice.refusal else _STOPS[choice.finish]
    if choice.stopped is not None and reason == "end_turn":
        reason = "stop_sequence"
    details = {"type": "refusal", "category": "cyber", "explanation": "This looks harmful."}
    return {
        "stop_reason": reason,
        "stop_sequence": choice.stopped if reason == "stop_sequence" else None,
        "stop_details": details if reason == "refusal" else None,
    }


def _tool_id(known: str) -> str:
    return "toolu_" + known.rpartition("-")[2]


def _input(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}


def _error(status: int, message: str) -> bytes:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    error = {"type": kind, "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"})
