"""vLLM: OpenAI's dialect, and exact counts in every chunk.

`continuous_usage_stats` makes each chunk of a stream carry the usage so far, so that a stream that is cut short is
settled at what the engine really made, also where one chunk carries several tokens. Callers see it only if they asked.

vLLM counts for each chunk's own choice and that choice's own prompt; the sums over all of them are made here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

import orjson

from app.exchange import Call, Event, Operation, Usage
from app.providers import stencil
from app.providers.openai import FROM_ROOT, PATHS, OpenAI, OpenAIDecoder
from app.providers.stencil import Stencil


class Vllm(OpenAI):
    """Encodes calls for, and decodes answers of, a vLLM server."""

    paths: ClassVar = MappingProxyType(
        {
            **PATHS,
            Operation.RERANK: "/rerank",
            Operation.SCORE: "/score",
            Operation.TOKENIZE: FROM_ROOT,
        }
    )
    stream_options: ClassVar = MappingProxyType({"include_usage": True, "continuous_usage_stats": True})

    def decoder(self, call: Call) -> OpenAIDecoder:
        """A decoder for this call."""
        return VllmDecoder(call)


class VllmDecoder(OpenAIDecoder):
    """Adds up the running usage, which counts the choice of its chunk alone, and takes it out of the chunks again."""

    __slots__ = ("_asked", "_made", "_per_prompt", "_prompt", "_read")

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        options = call.body.get("stream_options")
        self._asked = bool(options and options.get("continuous_usage_stats"))
        self._per_prompt: int = call.body.get("n") or 1
        self._made: dict[int, int] = {}
        self._read: dict[int, int] = {}
        self._prompt = 0  # input tokens in chunks of the stencil's shape, -1 where it carries no usage

    def _event(self, data: bytes) -> Event:
        event = super()._event(data)
        doc = event.doc
        choices = doc.get("choices")
        if choices and doc.get("usage") is not None:
            if self._call.choices > 1 and event.usage is not None:
                event.usage = self._sum(choices[0].get("index"), event.usage)
            if not self._asked:
                del doc["usage"]
                try:
                    event.data = orjson.dumps(doc)
                except orjson.JSONEncodeError:  # nested deeper than orjson writes
                    event.error = 502
        return event

    def glance(self, piece: bytes) -> bytes:
        """As its parent's; the running usage goes to `usage`."""
        out = super().glance(piece)
        if out and self._stencil is not None and self._prompt >= 0:
            self.usage = Usage(self._prompt, self._stencil.made)
        return out

    def _shape(self, event: Event, data: bytes) -> Stencil | None:
        self._prompt = -1
        if self._call.choices > 1 or (event.usage is None and event.data is not data):
            return None
        if event.usage is None:
            return super()._shape(event, data)
        found = stencil.running(data, asked=self._asked)
        if found is None:
            return None
        shape, self._prompt = found
        return shape

    def _sum(self, index: object, usage: Usage) -> Usage | None:
        """The usage of all choices so far; None until every prompt has been heard of: then our own count holds."""
        if type(index) is not int:
            return None
        self._made[index] = usage.output_tokens
        self._read[index // self._per_prompt] = usage.input_tokens
        if len(self._read) < self._call.prompts:
            return None
        return Usage(sum(self._read.values()), sum(self._made.values()))
