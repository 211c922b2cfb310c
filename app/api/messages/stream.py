"""Chunks of a chat completion as Anthropic's stream events."""

from __future__ import annotations

from typing import Any

import orjson

from app.api.messages.answer import message_id, stop_of, usage_document, whole
from app.api.messages.errors import document
from app.api.surface import MALFORMED, malformed, string
from app.errors import UPSTREAM_ERROR, GatewayError
from app.exchange import Batch, Event, JsonObject, Operation, Usage
from app.pipeline.progress import Progress

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_TEXT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":%b}}\n\n'
)


class MessagesWriter:
    """Writes one message. Blocks follow each other: a new kind of content, or a new tool call, ends the one before."""

    __slots__ = ("_calls", "_doc", "_ending", "_index", "_kind", "_progress", "_refusal", "_usage")

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._doc: JsonObject | None = None
        self._index = -1
        self._kind = ""
        self._calls = -1
        self._ending: JsonObject = {}
        self._refusal: str | None = None
        self._usage: Usage | None = None

    def whole(self, event: Event) -> bytes:
        """A message, or the number of a prompt's tokens."""
        try:
            if self._progress.operation is Operation.TOKENIZE:
                return orjson.dumps({"input_tokens": event.doc["count"]})
            return orjson.dumps(whole(event.doc, event.usage, self._progress.request_id))
        except MALFORMED as error:
            raise malformed() from error

    def events(self, batch: Batch) -> bytes:
        """The events that these chunks mean. Raises `GatewayError` where they mean nothing."""
        out: list[bytes] = []
        try:
            for event in batch:
                self._chunk(event, out)
        except MALFORMED as error:
            raise malformed() from error
        return b"".join(out)

    def _chunk(self, event: Event, out: list[bytes]) -> None:
        if event.usage is not None:
            self._usage = event.usage
        if self._doc is None:
            self._begin(event.doc, out)
        for choice in event.doc.get("choices") or ():
            if choice.get("index"):
                continue
            delta = choice.get("delta") or {}
            if choice.get("finish_reason"):
                self._ending, self._refusal = choice, delta.get("refusal")
                delta = {name: said for name, said in delta.items() if name != "refusal"}
            if delta:
                self._take(delta, out)

    def end(self, error: GatewayError | None) -> bytes:
        """The last block's end, why it stopped, what it used; or an error."""
        if error is not None:
            return _event(document(error, self._progress.request_id))
        out: list[bytes] = []
        if self._doc is None:
            self._begin({}, out)
        self._close(out)
        reason, sequence, details = stop_of(self._ending, self._refusal)
        delta = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}
        out.append(_event({"type": "message_delta", "delta": delta, "usage": usage_document(self._usage)}))
        out.append(_event({"type": "message_stop"}))
        return b"".join(out)

    def _begin(self, doc: JsonObject, out: list[bytes]) -> None:
        self._doc = doc
        call = self._progress.call
        message: JsonObject = {
            "id": message_id(doc, self._progress.request_id),
            "type": "message",
            "role": "assistant",
            "model": doc.get("model") or (call.model if call is not None else ""),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": usage_document(self._usage),
        }
        out.append(_event({"type": "message_start", "message": message}))
        out.append(_PING)

    def _take(self, delta: JsonObject, out: list[bytes]) -> None:
        text = delta.get("content")
        if text:
            if self._kind != "text":
                self._open("text", {"type": "text", "text": ""}, out)
            out.append(_TEXT % (self._index, orjson.dumps(string(text))))
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            self._think({"type": "thinking_delta", "thinking": thought}, out)
        for block in delta.get("thinking_blocks") or ():
            if block["type"] == "redacted_thinking":
                self._open("redacted_thinking", block, out)
            else:
                self._think({"type": "signature_delta", "signature": block["signature"]}, out)
        refusal = delta.get("refusal")
        if refusal:
            self._take({"content": refusal}, out)
        for call in delta.get("tool_calls") or ():
            self._call(call, out)

    def _think(self, delta: JsonObject, out: list[bytes]) -> None:
        if self._kind != "thinking":
            self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        self._delta(delta, out)

    def _call(self, call: JsonObject, out: list[bytes]) -> None:
        number, function = call.get("index", 0), call.get("function") or {}
        if number > self._calls:
            self._calls = number
            name, known = function.get("name"), call.get("id")
            self._open("tool_use", {"type": "tool_use", "id": known, "name": name, "input": {}}, out)
        elif number < self._calls or self._kind != "tool_use":
            raise GatewayError(UPSTREAM_ERROR, "The upstream went back to a tool call that had ended.")
        if function.get("arguments"):
            self._delta({"type": "input_json_delta", "partial_json": function["arguments"]}, out)

    def _delta(self, delta: JsonObject, out: list[bytes]) -> None:
        out.append(_event({"type": "content_block_delta", "index": self._index, "delta": delta}))

    def _open(self, kind: str, block: JsonObject, out: list[bytes]) -> None:
        self._close(out)
        self._kind = kind
        self._index += 1
        out.append(_event({"type": "content_block_start", "index": self._index, "content_block": block}))

    def _close(self, out: list[bytes]) -> None:
        if self._kind:
            self._kind = ""
            out.append(_event({"type": "content_block_stop", "index": self._index}))


def _event(doc: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (doc["type"].encode(), orjson.dumps(doc))
