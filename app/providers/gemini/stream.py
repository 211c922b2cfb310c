"""Gemini's stream (`alt=sse`), and its whole answers, as chat completions. A stream has no last word: it ends."""

from __future__ import annotations

import time
from typing import Any

import orjson

from app.exchange import Batch, Call, Event, JsonObject, Usage
from app.providers.gemini.answer import (
    Said,
    delta_of,
    ending,
    error_status,
    filtered,
    logprobs_of,
    message_of,
    usage_of,
)
from app.providers.reader import Reader
from app.providers.sse import SSEParser
from app.providers.usage import usage_document

_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)


class GeminiDecoder(Reader):
    """Reads one answer. An error inside it becomes its `failure`, and it is over."""

    __slots__ = ("_call", "_calls", "_created", "_ended", "_last", "_sse", "_usage")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._sse = SSEParser()
        self._created = int(time.time())
        self._calls: dict[int, int] = {}
        self._ended: set[int] = set()
        self._last: JsonObject = {}
        self._usage: Usage | None = None

    def feed(self, piece: bytes) -> Batch:
        """The chunks of this piece. Raises `ValueError` on an end that comes too soon."""
        batch: Batch = []
        for data in self._sse.feed(piece):
            try:
                doc = orjson.loads(data)
                if "error" in doc:
                    self.failure = Event(data, doc, error=error_status(doc["error"]))
                    break
                self._piece(doc, batch)
            except _MALFORMED:
                self.failure = Event(data, {}, error=502)
                break
        if not piece and self.failure is None:
            if len(self._ended) < self._call.choices:
                raise ValueError("the stream ended before its answer did")
            self.finished = True
            if self._usage is not None:
                doc = {**self._last, "choices": [], "usage": usage_document(self._usage)}
                batch.append(Event(orjson.dumps(doc), doc, usage=self._usage, hidden=not self._call.include_usage))
        return batch

    def body(self, data: bytes) -> Batch:
        """A whole answer, or none when it is an error. Raises `ValueError` when it is neither."""
        doc = orjson.loads(data)
        if type(doc) is not dict:
            raise ValueError("the answer is not a JSON object")
        if "error" in doc:
            self.failure = Event(data, doc, error=error_status(doc["error"]))
            return []
        try:
            made = self._whole(doc)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("the answer is not as Gemini's are") from error
        self.finished = True
        return [Event(orjson.dumps(made), made, usage=self._usage)]

    def _head(self, doc: JsonObject, kind: str) -> JsonObject:
        usage = usage_of(doc.get("usageMetadata"))
        if usage is not None:
            self._usage = usage
        known, model = doc.get("responseId") or "", doc.get("modelVersion") or ""
        return {"id": f"chatcmpl-{known}", "object": kind, "created": self._created, "model": model}

    def _blocked(self, doc: JsonObject) -> JsonObject | None:
        """The end of an answer that never began because the prompt was blocked; its tokens are billed all the same."""
        feedback = doc.get("promptFeedback") or {}
        reason = feedback.get("blockReason")
        if reason is None:
            return None
        results = filtered(feedback.get("safetyRatings"), reason)
        end = {"finish_reason": "content_filter", "native_finish_reason": reason, "content_filter_results": results}
        return {"logprobs": None, **end}

    def _whole(self, doc: JsonObject) -> JsonObject:
        made = self._head(doc, "chat.completion")
        candidates = doc.get("candidates") or ()
        blocked = self._blocked(doc) if not candidates else None
        if blocked is None and not candidates:
            raise ValueError("the answer holds no candidates")
        made["choices"] = [self._choice(candidate) for candidate in candidates]
        if blocked is not None:
            said = {"role": "assistant", "content": "", "refusal": None}
            made |= {"choices": [{"index": 0, "message": said, **blocked}], **_prompt_results(blocked)}
        if self._usage is not None:
            made["usage"] = usage_document(self._usage)
        return made

    def _choice(self, candidate: JsonObject) -> JsonObject:
        said = Said(candidate, 0)
        end = ending(candidate, called=bool(said.calls))
        end["finish_reason"] = end["finish_reason"] or "stop"
        logprobs = logprobs_of(candidate)
        return {"index": _index(candidate), "message": message_of(said), "logprobs": logprobs, **end}

    def _piece(self, doc: JsonObject, batch: Batch) -> None:
        head = self._last = self._head(doc, "chat.completion.chunk")
        candidates = doc.get("candidates") or ()
        blocked = self._blocked(doc) if not candidates else None
        if blocked is not None:
            self._ended.update(range(self._call.choices))
            choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, **blocked}
            batch.append(self._event({**head, "choices": [choice], **_prompt_results(blocked)}, 0))
        for candidate in candidates:
            index = _index(candidate)
            before = self._calls.get(index)
            said = Said(candidate, before or 0)
            self._calls[index] = (before or 0) + len(said.calls)
            end = ending(candidate, called=self._calls[index] > 0)
            if end["finish_reason"] is not None:
                self._ended.add(index)
            delta = delta_of(said, first=before is None)
            choice = {"index": index, "delta": delta, "logprobs": logprobs_of(candidate), **end}
            batch.append(self._event({**head, "choices": [choice]}, said.tokens))

    def _event(self, doc: JsonObject, tokens: int) -> Event:
        return Event(orjson.dumps(doc), doc, tokens, self._usage)


def _index(candidate: JsonObject) -> int:
    """A candidate's number. Raises `TypeError` where it is none."""
    index = candidate.get("index", 0)
    if type(index) is not int:
        raise TypeError("a candidate's index is no whole number")
    return index


def _prompt_results(blocked: JsonObject) -> dict[str, Any]:
    """Azure's field for what was filtered in the prompt."""
    return {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": blocked["content_filter_results"]}]}
