"""Chunks of a chat completion as Anthropic's stream events."""

from __future__ import annotations

from typing import Any

import orjson

from app.api.chunks import ChunkWriter
from app.api.messages.answer import message_id, stop_of, usage_document, whole
from app.api.messages.errors import document
from app.api.surface import string
from app.errors import GatewayError
from app.exchange import Event, JsonObject, Operation
from app.pipeline.progress import Progress

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_TEXT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":%b}}\n\n'
)


class MessagesWriter(ChunkWriter):
    """Writes one message: blocks, one after the other."""

    __slots__ = ("_doc", "_index", "_refusal")

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self._doc: JsonObject | None = None
        self._index = -1
        self._refusal: str | None = None

    def _whole(self, event: Event) -> JsonObject:
        """A message, or the number of a prompt's tokens."""
        if self._progress.operation is Operation.TOKENIZE:
            return {"input_tokens": event.doc["count"]}
        return whole(event.doc, event.usage, self._progress.request_id)

    def _last(self, error: GatewayError | None) -> list[bytes]:
        """The last block's end, why it stopped, what it used; or an error."""
        if error is not None:
            return [_event(document(error, self._progress.request_id))]
        out: list[bytes] = []
        self._begin({}, out)
        self._close(out)
        reason, sequence, details = stop_of(self._ending, self._refusal)
        delta = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}
        out.append(_event({"type": "message_delta", "delta": delta, "usage": usage_document(self._usage)}))
        out.append(_event({"type": "message_stop"}))
        return out

    def _begin(self, doc: JsonObject, out: list[bytes]) -> None:
        if self._doc is not None:
            return
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

    def _take(self, delta: JsonObject, choice: JsonObject, out: list[bytes]) -> None:
        text = delta.get("content")
        if text:
            self._say(string(text), out)
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            self._think({"type": "thinking_delta", "thinking": string(thought)}, out)
        for block in delta.get("thinking_blocks") or ():
            if block["type"] == "redacted_thinking":
                self._open("redacted_thinking", block, out)
            else:
                self._think({"type": "signature_delta", "signature": block["signature"]}, out)
        if choice.get("finish_reason"):
            self._refusal = delta.get("refusal")  # said about the answer, no part of it
        elif delta.get("refusal"):
            self._say(string(delta["refusal"]), out)
        for call in delta.get("tool_calls") or ():
            self._call(call, out)

    def _say(self, text: str, out: list[bytes]) -> None:
        if self._kind != "text":
            self._open("text", {"type": "text", "text": ""}, out)
        out.append(_TEXT % (self._index, orjson.dumps(text)))

    def _think(self, delta: JsonObject, out: list[bytes]) -> None:
        if self._kind != "thinking":
            self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        self._delta(delta, out)

    def _call(self, call: JsonObject, out: list[bytes]) -> None:
        function = call.get("function") or {}
        if self._fresh(call, "tool_use"):
            name, known = function.get("name"), call.get("id")
            self._open("tool_use", {"type": "tool_use", "id": known, "name": name, "input": {}}, out)
        if function.get("arguments"):
            self._delta({"type": "input_json_delta", "partial_json": string(function["arguments"])}, out)

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
