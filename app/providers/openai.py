"""The OpenAI dialect: OpenAI itself, and everything that speaks its API (vLLM, SGLang, llama.cpp, ...).

The gateway's own vocabulary is OpenAI's, so this dialect changes little: the model's name, and in streams the wish for
usage. Sources: platform.openai.com/docs/api-reference (chat, completions, embeddings, streaming, errors).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import orjson

from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Batch, Call, Event, JsonObject, Method, Operation, Outbound, Usage, made
from app.providers import stencil
from app.providers.counts import FREE
from app.providers.fitting import fitted
from app.providers.refusals import refusal
from app.providers.sse import SSEParser
from app.providers.stencil import Stencil
from app.providers.unable import unable
from app.table import Deployment

PATHS = {Operation.CHAT: "/chat/completions", Operation.COMPLETION: "/completions", Operation.EMBEDDINGS: "/embeddings"}
FROM_ROOT = "/tokenize"
_EXACT: Final = Method.EXACT
LESSONS = 8
"""How often a decoder looks for a new stencil: chunks that never resemble each other are not worth it."""
_SAYS_SOMETHING = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call")
_HOLDS = {
    Operation.CHAT: "choices", Operation.COMPLETION: "choices", Operation.EMBEDDINGS: "data",
    Operation.RERANK: "results", Operation.SCORE: "data", Operation.TOKENIZE: "count",
}  # fmt: skip
"""The field that makes a JSON object an answer."""


class OpenAI:
    """Encodes calls for, and decodes answers of, an OpenAI-compatible API."""

    paths: ClassVar[Mapping[Operation, str]] = MappingProxyType(PATHS)
    """Where each operation is served, behind the endpoint's base path; `FROM_ROOT` instead of it."""

    stream_options: ClassVar[Mapping[str, bool]] = MappingProxyType({"include_usage": True})
    """What is asked for in every stream; callers who did not ask do not see what comes of it."""

    def encode(self, call: Call, deployment: Deployment, request_id: str) -> Outbound:
        """The caller's body with the upstream's model name in it, and usage asked for in streams."""
        path = self.path(call, deployment)
        body = {**call.body, "model": deployment.model}
        if call.foreign or deployment.drop_params or deployment.output_cap is not None:
            body = fitted(body, call, deployment)
        if call.stream:
            body["stream_options"] = {**(call.body.get("stream_options") or {}), **self.stream_options}
        try:
            data = orjson.dumps(body)
        except orjson.JSONEncodeError:  # orjson reads 1024 levels and writes 254
            raise GatewayError(INVALID_REQUEST, "The body is nested too deeply.") from None
        headers = self.headers(deployment, request_id)
        return made(Outbound, ("POST", path, headers, data, call.stream, path == FROM_ROOT))

    def path(self, call: Call, deployment: Deployment) -> str:
        """Where the operation is served. Raises `GatewayError` where it is not."""
        path = self.paths.get(call.operation)
        if path is None:
            raise unable(call, deployment)
        return path

    def headers(self, deployment: Deployment, request_id: str) -> tuple[tuple[str, str], ...]:
        """The deployment's own headers, its key as a bearer token, and our id for the request."""
        fixed = (("content-type", "application/json"), ("x-request-id", request_id), *deployment.headers)
        if deployment.api_key is None:
            return fixed
        return (("authorization", f"Bearer {deployment.api_key.reveal()}"), *fixed)

    def decoder(self, call: Call) -> OpenAIDecoder:
        """A decoder for this call."""
        return OpenAIDecoder(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """The refusal in the contract's codes."""
        return refusal(status, headers, body, deployment)


class OpenAIDecoder:
    """Reads one answer. An error inside it becomes its `failure`, and it is over."""

    __slots__ = (
        "_call", "_each", "_lessons", "_open", "_sse", "_stencil", "_wanted", "failure", "finished", "glanced", "usage",
    )  # fmt: skip

    def __init__(self, call: Call) -> None:
        self._call = call
        self._sse = SSEParser()
        self._open = call.choices
        self._stencil: Stencil | None = None
        self._each = 0  # tokens of a chunk of this shape
        self._wanted = call.stream  # a stencil, and there is none that fits; the first chunk of a stream makes one
        self._lessons = LESSONS
        self.finished = False
        self.failure: Event | None = None
        self.glanced = 0
        self.usage: Usage | None = None

    def feed(self, piece: bytes) -> Batch:
        """The events of this piece. Raises `ValueError` on an event that is too large and an end that comes too soon.

        A stream may end without `[DONE]` once every choice has its `finish_reason`.
        """
        batch: Batch = []
        if not piece:
            if self._open > 0:
                raise ValueError("the stream ended before its answer did")
            self.finished = True
        for data in self._sse.feed(piece):
            if data == b"[DONE]":
                self.finished = True
                break
            # Of several `data` lines: the line feeds are between tokens of JSON, where a space does as well.
            event = self._event(data.replace(b"\n", b" ") if b"\n" in data else data)
            if event.error:
                self.failure = event
                break
            if self._wanted:
                self._learn(event, data)
            batch.append(event)
        return batch

    def glance(self, piece: bytes) -> bytes:
        """What the caller gets of a piece that is known without reading it, and `glanced` is what it carries."""
        known = self._stencil
        if known is not None and self._sse.between and (out := known.trace(piece)):
            self.glanced = known.events * self._each
            return out
        self._wanted = self._lessons > 0
        return b""

    def _learn(self, event: Event, data: bytes) -> None:
        """Take a chunk that says something, and to which nothing else happens, for the shape of those to come."""
        if event.tokens and not any(choice.get("finish_reason") for choice in event.doc["choices"]):
            self._wanted = False
            self._lessons -= 1
            self._stencil = self._shape(event, data)
            self._each = event.tokens

    def _shape(self, event: Event, data: bytes) -> Stencil | None:
        return stencil.plain(data) if event.usage is None else None

    def _event(self, data: bytes) -> Event:
        try:
            doc = orjson.loads(data)
            choices = doc.get("choices")
            event = Event(data, doc)
            if choices:
                self._take(event, choices)
            elif doc.get("error"):
                event.error = error_status(doc)
                return event
            reported = doc.get("usage")
            if reported is not None:
                event.usage = read_usage(reported)
                event.hidden = not choices and not self._call.include_usage
        except (ValueError, TypeError, AttributeError):
            return Event(data, {}, error=502)
        return event

    def _take(self, event: Event, choices: list[JsonObject]) -> None:
        """Count what a chunk says: at least one output token for each choice that says something."""
        for choice in choices:
            if type(choice.get("index", 0)) is not int:
                raise TypeError("a choice's index is no whole number")
            delta = choice.get("delta")
            if delta is None:
                event.tokens += 1 if choice.get("text") else 0
            else:
                for name in _SAYS_SOMETHING:
                    if delta.get(name):
                        event.tokens += 1
                        break
            if choice.get("finish_reason"):
                self._open -= 1

    def body(self, data: bytes) -> Batch:
        """A whole answer, or none when it is an error. Raises `ValueError` when it is neither."""
        doc = orjson.loads(data)
        if type(doc) is not dict:
            raise ValueError("the answer is not a JSON object")
        name = _HOLDS[self._call.operation]
        if "error" in doc and name not in doc:
            self.failure = Event(data, doc, error=error_status(doc))
            return []
        if type(doc.get(name)) is not (int if name == "count" else list):
            raise ValueError(f"the answer holds no `{name}`")
        if name == "choices" and not all(type(one) is dict and type(one.get("index", 0)) is int for one in doc[name]):
            raise ValueError("the answer's choices are none")
        self.finished = True
        if name == "count":
            return [Event(data, doc, usage=FREE)]
        return [Event(data, doc, usage=read_usage(doc.get("usage")))]


def read_usage(reported: object) -> Usage | None:
    """OpenAI's usage object; None when it is no such thing: then our own count holds. Unsound details are left out."""
    if type(reported) is not dict:
        return None
    read, written = reported.get("prompt_tokens"), reported.get("completion_tokens")
    if written is None and type(read) is int and type(whole := reported.get("total_tokens")) is int:
        written = whole - read  # embeddings have no completion
    if type(read) is not int or type(written) is not int or read < 0 or written < 0:
        return None
    usage = made(Usage, (read, written, 0, 0, 0, _EXACT))
    cached, thought = reported.get("prompt_tokens_details"), reported.get("completion_tokens_details")
    if cached:
        hit = _part(cached, "cached_tokens", read)
        usage = usage._replace(
            cached_input_tokens=hit, cache_write_tokens=_part(cached, "cache_write_tokens", read - hit)
        )
    if thought:
        usage = usage._replace(reasoning_tokens=_part(thought, "reasoning_tokens", written))
    return usage


def _part(details: object, name: str, whole: int) -> int:
    """A count that is a part of `whole`; 0 where it is none."""
    count = details.get(name) if type(details) is dict else None
    return count if type(count) is int and 0 <= count <= whole else 0


def error_status(doc: JsonObject) -> int:
    """The HTTP status that an error document means: vLLM's `code` is one; without one it is a 500."""
    error = doc["error"]
    code = error.get("code") if type(error) is dict else None
    return code if type(code) is int and 400 <= code < 600 else 500
