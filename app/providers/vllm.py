"""vLLM: OpenAI's dialect, and exact counts in every chunk.

`continuous_usage_stats` makes each chunk of a stream carry the usage so far, so that a stream that is cut short is
settled at what the engine really made, also where one chunk carries several tokens. Callers see it only if they asked.
"""

from __future__ import annotations

from types import MappingProxyType

import orjson

from app.exchange import Call, Event
from app.providers.openai import OpenAI, OpenAIDecoder


class Vllm(OpenAI):
    """Encodes calls for, and decodes answers of, a vLLM server."""

    stream_options = MappingProxyType({"include_usage": True, "continuous_usage_stats": True})

    def decoder(self, call: Call) -> OpenAIDecoder:
        """A decoder for this call."""
        asked = call.body.get("stream_options")
        return OpenAIDecoder(call) if asked and asked.get("continuous_usage_stats") else VllmDecoder(call)


class VllmDecoder(OpenAIDecoder):
    """Takes the running usage out of the chunks again."""

    __slots__ = ()

    def _event(self, data: bytes) -> Event:
        event = super()._event(data)
        doc = event.doc
        if doc.get("usage") is not None and doc.get("choices"):
            del doc["usage"]
            try:
                event.data = orjson.dumps(doc)
            except orjson.JSONEncodeError:  # nested deeper than orjson writes
                event.error = 502
        return event
