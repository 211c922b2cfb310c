"""CPU of translation, per dialect and per surface, in µs: `.venv/bin/python scripts/translation_cost.py`.

No network: a request is encoded, an answer decoded, a stream of 200 chunks fed one event at a time. The chunk's figure
is shown beside pass-through, which reads every chunk too. Process CPU time, best of several rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import orjson

from app.api.hot import OPENAI, SURFACES
from app.api.surface import Surface
from app.exchange import Call, JsonObject, Operation
from app.pipeline.call import Decoder
from app.pipeline.progress import Progress
from app.pipeline.validate import validate
from app.providers.registry import DIALECTS
from tests.pipeline.parts import deployment
from tests.providers.dialogues import EVERYTHING, TIME, WEATHER

ROUNDS, CHUNKS = 7, 200
CHAT = orjson.dumps(
    {"model": "chat", "messages": EVERYTHING, "tools": [WEATHER, TIME], "temperature": 0.5, "stream": True}
)


def best(work: Callable[[], object], times: int) -> float:
    """Microseconds per call."""
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        for _ in range(times):
            work()
        rounds.append((process_time() - began) / times * 1e6)
    return min(rounds)


def openai_events() -> list[bytes]:
    """A stream of OpenAI's."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks = [{**head, "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}] * CHUNKS
    return [b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks]


def anthropic_events() -> list[bytes]:
    """A stream of Anthropic's; the head comes with the first event."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    start = _named({"type": "message_start", "message": message})
    block = _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    delta = _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}})
    return [start + block + delta, *[delta] * (CHUNKS - 1)]


def _named(doc: JsonObject) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (doc["type"].encode(), orjson.dumps(doc))


def gemini_events() -> list[bytes]:
    """A stream of Gemini's."""
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}
    candidate = {"content": {"parts": [{"text": " word"}], "role": "model"}, "index": 0}
    doc = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}
    return [b"data: %b\r\n\r\n" % orjson.dumps(doc)] * CHUNKS


STREAMS = {
    "openai": openai_events(), "vllm": openai_events(), "azure_openai": openai_events(),
    "anthropic": anthropic_events(), "gemini": gemini_events(),
}  # fmt: skip


def play(decoder: Decoder, surface: Surface, call: Call, events: list[bytes]) -> None:
    """One stream, event by event, through a decoder and a surface's writer."""
    progress = Progress("req_1", Operation.CHAT)
    progress.call = call
    writer = surface.writer(progress)
    for event in events:
        writer.events(decoder.feed(event))


def main() -> None:
    """Print the figures."""
    call = validate(Operation.CHAT, CHAT)
    surfaces = {"chat": OPENAI, "messages": SURFACES["/v1/messages"], "responses": SURFACES["/v1/responses"]}
    plain = 0.0
    print(f"{'provider':14} {'encode a request':>17}   per chunk on: " + "".join(f"{name:>12}" for name in surfaces))
    for provider, events in STREAMS.items():
        dialect, target = DIALECTS[provider], deployment("two", provider=provider)
        encode = best(lambda dialect=dialect, target=target: dialect.encode(call, target, "req_1"), 2000)  # type: ignore[misc]  # a default binds
        costs = []
        for surface in surfaces.values():
            total = best(lambda d=dialect, s=surface, e=events: play(d.decoder(call), s, call, e), 20)  # type: ignore[misc]  # as above
            costs.append(total / CHUNKS)
        plain = plain or costs[0]
        print(f"{provider:14} {encode:14.1f} µs   {'':14} " + "".join(f"{cost:8.2f} µs " for cost in costs))
    print(f"pass-through (openai on chat, every chunk parsed): {plain:.2f} µs per chunk")


if __name__ == "__main__":
    main()
