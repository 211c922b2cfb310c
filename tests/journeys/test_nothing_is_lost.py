"""Any answer, in any provider's words, told on any surface, whole and streamed, is the answer that was given.

The words are written by the fake upstream's own writers, which the vendors' SDKs read (`tests/upstream/test_vendors`).
"""

from __future__ import annotations

from itertools import pairwise

import httpx2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.messages.surface import MessagesSurface
from app.api.responses.surface import ResponsesSurface
from app.api.surface import OpenAISurface, Surface
from app.exchange import Batch, Operation
from app.pipeline.progress import Progress
from app.providers.registry import DIALECTS
from tests.pipeline.parts import call
from tests.support.matrix import PROVIDERS
from tests.support.talk import CHAT, MESSAGES, RESPONSES, Seen, answer
from tests.upstream.anthropic_wire import AnthropicWire
from tests.upstream.azure_wire import AzureWire
from tests.upstream.behaviour import parse
from tests.upstream.dialect import Answer, Ask, Choice, Dialect, Tool
from tests.upstream.gemini_wire import GeminiWire
from tests.upstream.openai import OpenAI

WIRES: dict[str, tuple[Dialect, str]] = {
    "vllm": (OpenAI(), "echo"),
    "openai": (OpenAI(), "openai"),
    "azure_openai": (AzureWire(), "openai"),
    "anthropic": (AnthropicWire(), "echo"),
    "gemini": (GeminiWire(), "echo"),
}
SURFACES: dict[str, Surface] = {CHAT: OpenAISurface(), MESSAGES: MessagesSurface(), RESPONSES: ResponsesSurface()}
SILENT = {"openai", "azure_openai"}
"""They count what their models think, and keep it to themselves."""
ENDS = {"stop": "stop", "length": "length", "content_filter": "filter", "tool_calls": "tools"}

PIECES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5).map(tuple)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def tools(draw: st.DrawFn) -> tuple[Tool, ...]:
    """One to three calls in parallel, their arguments cut anywhere."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        text = orjson.dumps(draw(st.dictionaries(st.text(max_size=5), VALUES, max_size=3))).decode()
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        parts = tuple(text[a:b] for a, b in pairwise([0, *cuts, len(text)]) if a < b)
        found.append(Tool(f"call-{number}x", draw(st.sampled_from(["get_weather", "get_time"])), parts))
    return tuple(found)


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    """Thoughts or none, then text, a refusal that the filter made, or calls."""
    reasoning = draw(st.just(()) | PIECES)
    if draw(st.booleans()):
        return Choice(0, reasoning=reasoning, tools=draw(tools()), finish="tool_calls")
    return Choice(0, reasoning=reasoning, content=draw(PIECES), finish=draw(st.sampled_from(list(ENDS)[:3])))


def told(surface: str, batches: list[Batch], *, stream: bool) -> Seen:
    """What a caller of the surface reads."""
    progress = Progress("req_1", Operation.CHAT)
    progress.call = call(stream=stream)
    writer = SURFACES[surface].writer(progress)
    if stream:
        body = b"".join(writer.events(batch) for batch in batches) + writer.end(None)
    else:
        body = writer.whole(batches[0][0])
    kind = "text/event-stream" if stream else "application/json"
    return answer(surface, httpx2.Response(200, headers={"content-type": kind}, content=body))


def expected(choice: Choice, provider: str) -> Seen:
    """What was said."""
    made = choice.tokens
    thought = "" if provider in SILENT else "".join(choice.reasoning)
    calls = [("", tool.name, "".join(tool.parts)) for tool in choice.tools]
    return Seen("".join(choice.content), thought, calls, ENDS[choice.finish], (9, made, 2, len(choice.reasoning)))


def same(found: Seen, wanted: Seen) -> None:
    """Ids are the provider's or ours: there is one for each call, and no two are the same. Arguments are JSON."""
    assert len({known for known, _, _ in found.calls}) == len(wanted.calls)
    assert all(known for known, _, _ in found.calls)
    for seen in (found, wanted):
        seen.calls = [("", name, orjson.dumps(orjson.loads(text)).decode()) for _, name, text in seen.calls]
    assert found == wanted


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=60)
@given(choice=choices(), cuts=st.lists(st.integers(0, 5_000), max_size=6))
def test_what_was_said_is_what_is_heard(provider: str, choice: Choice, cuts: list[int]) -> None:
    """Text, thoughts, calls, the end, and usage with each part counted once."""
    wire, spoken = WIRES[provider]
    behaviour = parse(f"{spoken}+cached-2")
    assert behaviour is not None
    ask = Ask("chat", "m", behaviour, {}, "msg-1", 1, "fp", ["x"], 9, include_usage=True, sizes=[9])
    given_ = Answer([choice], choice.tokens, choice.tokens, (9, choice.tokens))
    whole = DIALECTS[provider].decoder(call()).body(wire.whole(ask, given_))
    form = b"event: %b\ndata: %b\n\n" if wire.named else b"data: %b\n\n"
    docs = [event for step in wire.steps(ask, given_) for event in step.events]
    data = b"".join(form % ((orjson.loads(doc)["type"].encode(), doc) if wire.named else doc) for doc in docs)
    decoder = DIALECTS[provider].decoder(call(stream=True, stream_options={"include_usage": True}))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    batches = [decoder.feed(data[a:b]) for a, b in pairwise(places) if a < b]
    batches.append(decoder.feed(b""))
    for surface in SURFACES:
        same(told(surface, [whole], stream=False), expected(choice, provider))
        same(told(surface, [one for one in batches if one], stream=True), expected(choice, provider))
