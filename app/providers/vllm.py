"""vLLM: OpenAI's dialect, and exact counts in every chunk.

`continuous_usage_stats` makes each chunk of a stream carry the usage so far, so that a stream that is cut short is
settled at what the engine really made, also where one chunk carries several tokens. Callers see it only if they asked.

vLLM counts for each chunk's own choice and that choice's own prompt; the sums over all of them are made here.
"""

from __future__ import annotations

from types import MappingProxyType

import orjson

from app.exchange import Call, Event, Operation, Usage
from app.providers.openai import FROM_ROOT, PATHS, OpenAI, OpenAIDecoder


class Vllm(OpenAI):
    """Encodes calls for, and decodes answers of, a vLLM server."""

    paths = MappingProxyType(
        {
            **PATHS,
            Operation.RERANK: "/rerank",
            Operation.SCORE: "/score",
            Operation.TOKENIZE: FROM_ROOT,
        }
    )
    stream_options = MappingProxyType({"include_usage": True, "continuous_usage_stats": True})

    def decoder(self, call: Call) -> OpenAIDecoder:
        """A decoder for this call."""
        return VllmDecoder(call)


class VllmDecoder(OpenAIDecoder):
    """Adds up the running usage, which counts the choice of its chunk alone, and takes it out of the chunks again."""

    __slots__ = ("_asked", "_each", "_made", "_read")

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        options = call.body.get("stream_options")
        self._asked = bool(options and options.get("continuous_usage_stats"))
        self._each: int = call.body.get("n") or 1
        self._made: dict[int, int] = {}
        self._read: dict[int, int] = {}

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

    def _sum(self, index: object, usage: Usage) -> Usage | None:
        """The usage of all choices so far; None until every prompt has been heard of: then our own count holds."""
        if type(index) is not int:
            return None
        self._made[index] = usage.output_tokens
        self._read[index // self._each] = usage.input_tokens
        if len(self._read) < self._call.prompts:
            return None
        return Usage(sum(self._read.values()), sum(self._made.values()))
