"""Anthropic's stream events as chunks of a chat completion.

Beside OpenAI's fields a delta may have `reasoning_content`, and `thinking_blocks` at the end of a thought: its
signature, or the whole of it where it is redacted.
"""

from __future__ import annotations

import time
from typing import Any

import orjson

from app.exchange import Batch, Call, Event, JsonObject, Usage
from app.providers.anthropic.answer import ending, error_status, explanation, usage_of, whole
from app.providers.reader import Reader
from app.providers.sse import SSEParser
from app.providers.usage import usage_document


class AnthropicDecoder(Reader):
    """Reads one answer. An error inside it becomes its `failure`, and it is over."""

    __slots__ = (
        "_call", "_chunk", "_empty_call", "_ended", "_read", "_sse", "_tool", "_usage",
    )  # fmt: skip

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._sse = SSEParser()
        self._chunk: JsonObject = {
            "id": "", "object": "chat.completion.chunk", "created": int(time.time()), "model": "",
        }  # fmt: skip
        self._usage: Usage | None = None
        self._tool = -1
        self._empty_call = False
        self._ended = False
        self._read = {
            "message_start": self._start,
            "content_block_start": self._block,
            "content_block_delta": self._delta,
            "content_block_stop": self._block_end,
            "message_delta": self._end,
        }

    def feed(self, piece: bytes) -> Batch:
        """The chunks of this piece. Raises `ValueError` on an end that comes too soon."""
        batch: Batch = []
        if not piece:
            if not self._ended:
                raise ValueError("the stream ended before its answer did")
            self.finished = True
        for data in self._sse.feed(piece):
            try:
                doc = orjson.loads(data)
                kind = doc["type"]
                read = self._read.get(kind)
                if read is not None:
                    read(doc, batch)
                elif kind == "message_stop":
                    self.finished = True
                    break
                elif kind == "error":
                    self.failure = Event(data, doc, error=error_status(doc))
                    break
            except (ValueError, TypeError, KeyError, AttributeError):
                self.failure = Event(data, {}, error=502)
                break
        return batch

    def body(self, data: bytes) -> Batch:
        """A whole answer, or none when it is an error. Raises `ValueError` when it is neither."""
        doc = orjson.loads(data)
        if type(doc) is not dict:
            raise ValueError("the answer is not a JSON object")
        if doc.get("type") == "error":
            self.failure = Event(data, doc, error=error_status(doc))
            return []
        try:
            made, usage = whole(doc)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("the answer is not as Anthropic's are") from error
        self.finished = True
        return [Event(orjson.dumps(made), made, usage=usage)]

    def _event(self, delta: JsonObject, tokens: int, **end: Any) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **end}
        doc = {**self._chunk, "choices": [choice]}
        return Event(orjson.dumps(doc), doc, tokens)

    def _start(self, doc: JsonObject, batch: Batch) -> None:
        message = doc["message"]
        self._chunk["id"], self._chunk["model"] = message["id"], message["model"]
        event = self._event({"role": "assistant", "content": ""}, 0)
        event.usage = self._usage = usage_of(message.get("usage"))
        batch.append(event)

    def _block(self, doc: JsonObject, batch: Batch) -> None:
        block = doc["content_block"]
        kind = block["type"]
        if kind == "tool_use":
            self._tool += 1
            self._empty_call = True
            function = {"name": _string(block["name"]), "arguments": ""}
            call = {"index": self._tool, "id": block["id"], "type": "function", "function": function}
            batch.append(self._event({"tool_calls": [call]}, 1))
        elif kind == "redacted_thinking":
            batch.append(self._event({"thinking_blocks": [block]}, 1))
        elif kind == "text":
            if block["text"]:
                batch.append(self._event({"content": _string(block["text"])}, 1))
        elif kind != "thinking":
            raise ValueError("a block of a kind that is not known")

    def _delta(self, doc: JsonObject, batch: Batch) -> None:
        delta = doc["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            batch.append(self._event({"content": _string(delta["text"])}, 1))
        elif kind == "input_json_delta":
            if delta["partial_json"]:
                self._arguments(_string(delta["partial_json"]), batch)
        elif kind == "thinking_delta":
            batch.append(self._event({"reasoning_content": _string(delta["thinking"])}, 1))
        elif kind == "signature_delta":
            block = {"type": "thinking", "signature": delta["signature"]}
            batch.append(self._event({"thinking_blocks": [block]}, 0))

    def _arguments(self, text: str, batch: Batch) -> None:
        self._empty_call = False
        batch.append(self._event({"tool_calls": [{"index": self._tool, "function": {"arguments": text}}]}, 1))

    def _block_end(self, _doc: JsonObject, batch: Batch) -> None:
        if self._empty_call:  # a call without arguments is streamed without any
            self._arguments("{}", batch)
            batch[-1].tokens = 0

    def _end(self, doc: JsonObject, batch: Batch) -> None:
        delta = doc["delta"]
        self._usage = usage_of(doc.get("usage"), self._usage)
        reason, details = delta.get("stop_reason"), delta.get("stop_details")
        if reason is not None:
            refusal = explanation(details) if reason == "refusal" else None
            said = {"refusal": refusal} if refusal else {}
            batch.append(self._event(said, 0, **ending(reason, delta.get("stop_sequence"), details)))
            self._ended = True
        if self._usage is not None:
            last = {**self._chunk, "choices": [], "usage": usage_document(self._usage)}
            hidden = not self._call.include_usage
            batch.append(Event(orjson.dumps(last), last, usage=self._usage, hidden=hidden))


def _string(value: Any) -> str:
    """A piece of an answer's text. Raises `TypeError` where it is none."""
    if type(value) is not str:
        raise TypeError("not a string")
    return value
