"""Chats over an upstream that only completes texts: the conversation is written out, the answer made a chat's again.

Everything else about the upstream is its own dialect's business. What has no place in a completion (tools, images) is a
400 that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import orjson

from app.errors import GatewayError
from app.exchange import Batch, Call, Event, JsonObject, Operation, Outbound, PromptFormat, Provider, Usage
from app.pipeline.call import Decoder
from app.providers.asked import Asked
from app.providers.rendering import rendered
from app.table import Deployment

_SAME: Final = (
    *("frequency_penalty", "logit_bias", "metadata", "n", "presence_penalty", "response_format", "seed"),
    *("service_tier", "store", "temperature", "top_k", "top_p"),
)
"""Fields that mean the same in both. `response_format` is vLLM's there; another upstream says what it thinks of it."""
_READ: Final = (
    *("add_generation_prompt", "cache_control", "continue_final_message", "max_completion_tokens", "max_tokens"),
)
_PASSED: Final = ("safety_identifier", "stream", "stream_options", "user")
_COMPLETIONS_ONLY: Final = ("best_of", "echo", "prompt", "prompt_embeds", "suffix", "use_beam_search")
"""Fields of completions that no chat has: they would replace the prompt, show it, or have more made than is counted."""


class Inner(Protocol):
    """The dialect of the upstream itself."""

    def encode(self, call: Call, deployment: Deployment, request_id: str) -> Outbound:
        """As `Dialect`'s."""

    def decoder(self, call: Call) -> Decoder:
        """As `Dialect`'s."""

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """As `Dialect`'s."""


class Completions:
    """Speaks to an upstream in its own dialect, and of chats in completions."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner

    def encode(self, call: Call, deployment: Deployment, request_id: str) -> Outbound:
        """The request. Raises `GatewayError` for what a completion cannot do."""
        style = deployment.prompt_format
        if style is not None and "messages" in call.body:
            call = written(call, deployment, style)
        return self._inner.encode(call, deployment, request_id)

    def decoder(self, call: Call) -> Decoder:
        """A decoder for this call."""
        if call.operation is not Operation.CHAT:
            return self._inner.decoder(call)
        inner = self._inner.decoder(call._replace(operation=Operation.COMPLETION))
        return ChatDecoder(inner, goes_on=call.body.get("continue_final_message") is True)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """The refusal in the contract's codes."""
        return self._inner.error(status, headers, body, deployment)


def written(call: Call, deployment: Deployment, style: PromptFormat) -> Call:
    """A chat as a completion, the counting of one as that of a text. Raises `GatewayError` naming what has no place."""
    prompt = rendered(call, style)
    if call.operation is Operation.TOKENIZE:
        return call._replace(body={"model": call.model, "prompt": prompt}, foreign=False)
    asked = Asked(call, deployment)
    for name in _READ:
        asked.take(name)
    body: JsonObject = {"model": call.model, "prompt": prompt}
    body |= {name: value for name in _SAME if (value := asked.take(name)) is not None}
    body |= {name: call.body[name] for name in _PASSED if call.body.get(name) is not None}
    if call.max_output_tokens is not None:
        body["max_tokens"] = call.max_output_tokens
    body["stop"] = list(dict.fromkeys((*asked.stops(), *style.stops)))
    tops = asked.integer("top_logprobs") or 0
    if asked.flag("logprobs"):
        body["logprobs"] = tops
    for name in ("chat_template", "chat_template_kwargs"):
        if asked.take(name) is not None:
            raise asked.cannot(name, "the gateway writes its conversations out, in the format of the configuration")
    for name in _COMPLETIONS_ONLY:
        if asked.take(name) not in (None, False):
            raise asked.cannot(name, "it is a completion's, and this is a chat")
    if deployment.provider is Provider.VLLM:
        body["skip_special_tokens"] = False  # or the marks at which an answer ends would not be in the text
    return call._replace(operation=Operation.COMPLETION, body=asked.rest() | body, foreign=False)


class ChatDecoder:
    """Makes a completion's answer a chat's. One that `goes_on` where the prompt ended keeps the space before it."""

    __slots__ = ("_begun", "_goes_on", "_inner", "failure", "finished", "glanced", "usage")

    def __init__(self, inner: Decoder, *, goes_on: bool) -> None:
        self._inner = inner
        self._goes_on = goes_on
        self._begun: set[int] = set()
        self.finished = False
        self.failure: Event | None = None
        self.glanced = 0
        self.usage: Usage | None = None

    def feed(self, piece: bytes) -> Batch:
        """The events of this piece. Raises `ValueError`."""
        batch: Batch = []
        for event in self._inner.feed(piece):
            made = self._written(event, "delta", "chat.completion.chunk") if "choices" in event.doc else event
            if made.error:
                self.failure = made
                return batch
            batch.append(made)
        self.finished, self.failure = self._inner.finished, self._inner.failure
        return batch

    def glance(self, piece: bytes) -> bytes:  # noqa: ARG002 - as the protocol has it
        """Nothing is known unread: every chunk is written anew."""
        return b""

    def body(self, data: bytes) -> Batch:
        """A whole answer, or none when it is an error. Raises `ValueError` when it is neither."""
        batch = [self._written(event, "message", "chat.completion") for event in self._inner.body(data)]
        if any(event.error for event in batch):
            raise ValueError("the answer's choices are none")
        self.finished, self.failure = self._inner.finished, self._inner.failure
        return batch

    def _written(self, event: Event, name: str, kind: str) -> Event:
        doc = event.doc
        try:
            doc["object"], doc["choices"] = kind, [self._choice(choice, name) for choice in doc["choices"]]
            event.data = orjson.dumps(doc)
        except (AttributeError, TypeError):  # also what is nested deeper than orjson writes
            return Event(event.data, {}, error=502)
        return event

    def _choice(self, choice: JsonObject, name: str) -> JsonObject:
        text = choice.pop("text", None) or ""
        if type(text) is not str:
            raise TypeError("a choice's text is none")
        index = choice.get("index", 0)
        if index in self._begun:
            choice[name] = {"content": text}
        else:
            self._begun.add(index)
            choice[name] = {"role": "assistant", "content": text if self._goes_on else text.lstrip(" ")}
        if choice.get("logprobs"):
            choice["logprobs"] = {"content": _logprobs(choice["logprobs"]), "refusal": None}
        return choice


def _logprobs(found: JsonObject) -> list[JsonObject]:
    """A completion's logprobs in the shape of a chat's."""
    pairs = zip(found.get("tokens") or (), found.get("token_logprobs") or (), strict=False)
    tops: list[JsonObject | None] = found.get("top_logprobs") or []
    likeliest = [[_token(*one) for one in (top or {}).items()] for top in tops]
    return [
        {**_token(*pair), "top_logprobs": likeliest[place] if place < len(likeliest) else []}
        for place, pair in enumerate(pairs)
    ]


def _token(token: str, logprob: float | None) -> JsonObject:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}
