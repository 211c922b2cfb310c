"""Requests to a gateway and what its upstream says to them, valid ones and odd ones: `Maker` makes them from a seed.

In an odd one values were replaced, dropped, doubled or moved, events lost or repeated, or bytes torn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from tests.support.gateway import KEY, Json
from tests.support.matrix import PROVIDERS
from tests.support.talk import CHAT, MESSAGES, RESPONSES, SURFACES, question
from tests.upstream.anthropic_wire import AnthropicWire
from tests.upstream.azure_wire import AzureWire
from tests.upstream.behaviour import parse
from tests.upstream.dialect import Answer, Ask, Choice, Dialect, Refused, Tool
from tests.upstream.gemini_wire import GeminiWire
from tests.upstream.openai import OpenAI

WIRES: dict[str, Dialect] = {
    "vllm": OpenAI(),
    "openai": OpenAI(),
    "azure_openai": AzureWire(),
    "anthropic": AnthropicWire(),
    "gemini": GeminiWire(),
}
KINDS = ("plain", "guarded", "guarded", "short", "templated")
MORE = ("/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/score", "/tokenize", "/v1/moderations")
"""Paths beside those of conversations."""
WORDS = (
    "one",
    "two ",
    "größer",
    "日本語",
    "🙂",
    " ",
    "\n",
    '"',
    "\\",
    "a@b.example",
    "4111 1111 1111 1111",
    "codename",
    "",
)
_EVERYWHERE: Json = {"temperature": 0.5, "top_p": 0.9, "metadata": {"user_id": "u"}, "service_tier": "auto"}
FIELDS: dict[str, Json] = {
    CHAT: _EVERYWHERE
    | {
        "n": 2,
        "seed": 7,
        "user": "u",
        "safety_identifier": "s",
        "logprobs": True,
        "top_logprobs": 2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "logit_bias": {"5": 1},
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "top_k": 5,
        "max_tokens": 20,
        "modalities": ["text"],
        "thinking": {"type": "enabled"},
        "prediction": None,
        "store": False,
        "verbosity": "low",
        "response_format": {"type": "json_object"},
        "extra_body": {"google": {"thinking_config": {"thinking_budget": 5}}},
        "guided_regex": "a+",
    },
    MESSAGES: _EVERYWHERE
    | {
        "top_k": 5,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "container": None,
        "mcp_servers": [],
        "output_config": {"effort": "low"},
        "context_management": None,
        "system": [{"type": "text", "text": "Be brief."}],
    },
    RESPONSES: _EVERYWHERE
    | {
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "user": "u",
        "truncation": "disabled",
        "top_logprobs": 1,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "background": False,
        "prompt": None,
        "safety_identifier": "s",
        "max_tool_calls": None,
    },
}
"""What a request may say beside its conversation."""
PARTS: dict[str, list[Json]] = {
    CHAT: [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            "name": "u",
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "well"},
        {"role": "developer", "content": "Be brief."},
    ],
    MESSAGES: [
        {
            "role": "user",
            "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "well", "signature": "s"}, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]},
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}]},
        {"role": "system", "content": "Be brief."},
    ],
    RESPONSES: [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "well"}],
            "encrypted_content": None,
        },
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_file", "file_data": "data:text/plain;base64,AAAA"}],
        },
        {"type": "item_reference", "id": "x"},
        {"role": "developer", "content": "Be brief."},
    ],
}
"""Turns of kinds that the usual conversation lacks."""
HEADERS: tuple[dict[str, str], ...] = (
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Basic eDp5"},
    {"authorization": f"bearer  {KEY}"},
    {"authorization": f"Bearer {KEY}x"},
    {"authorization": "", "x-api-key": KEY},
    {"x-api-key": "no"},
    {"api-key": "\xff"},
    {"x-sluicegate-pin": "vllm-plain"},
    {"x-sluicegate-pin": ""},
    {"x-sluicegate-pin": "\xe4"},
    {"x-sluicegate-affinity": "\xff"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"traceparent": "00-0-0-01"},
    {"traceparent": ""},
    {"tracestate": "a=b,,=", "traceparent": "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"content-type": "text/plain"},
    {"content-type": ""},
    {"accept": "nothing"},
    {"expect": "100-continue"},
)
"""What a head may say beside a key."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.0, 1.5, -0.0, 1e300, "", "x", "0", "true",
    "\ud7ff", "\x00", [], [None], [[]], ["x"], [1], {}, {"": None}, {"type": None}, {"type": "text"}, [{}], "user",
)  # fmt: skip
ODD_TEXT = (b"", b"nul", b"{", b"[]", b"null", b'"x"', b"1", b"{}", b"[{}]", b"\xff", b"\xef\xbb\xbf{}", b"<html>")
STATUSES = (400, 401, 404, 422, 413, 500)
"""Those that no request is sent again for: a pause would be the test's."""


@dataclass
class Case:
    """A request, and what the upstream says to it. `pieces` go out one by one."""

    path: str
    body: bytes
    status: int
    kind: str
    pieces: list[bytes]
    headers: dict[str, str]
    sound: bool
    """Whether the upstream's answer is as it should be."""


class Maker:
    """Makes cases; the same from the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def case(self) -> Case:
        """The next one."""
        random = self._random
        provider, stream = random.choice(PROVIDERS), random.random() < 0.5
        model = f"{provider}-{random.choice(KINDS)}"
        if random.random() < 0.15:
            path = random.choice(MORE)
            asked = self._other(path, model)
        else:
            path = random.choice(SURFACES)
            asked = question(path, model, **self._wishes(), **({"stream": True} if stream else {}))
            asked |= {name: value for name, value in FIELDS[path].items() if random.random() < 0.1}
            if random.random() < 0.2:
                turns = asked["input" if path == RESPONSES else "messages"]
                turns.insert(random.randrange(len(turns) + 1), random.choice(PARTS[path]))
        torn = random.random()
        body = self._torn(asked) if torn < 0.4 else orjson.dumps(asked)
        made = self._answer(provider, path, stream=stream, torn=torn > 0.3)
        headers = dict(random.choice(HEADERS)) if random.random() < 0.2 else {}
        return Case(path, body, *made, headers, torn <= 0.3)

    # --- what a caller says ----------------------------------------------------------------------------------

    def _wishes(self) -> Json:
        random = self._random
        every: Json = {
            "system": "Be brief.",
            "history": True,
            "image": True,
            "tools": True,
            "choice": random.choice(["auto", "required", "none"]),
            "results": [("call_1", "get_weather", '{"city":"Paris"}'), ("call_2", "get_weather", "{}")],
            "form": True,
            "stop": ["x", "y"],
            "sampling": {"temperature": 0.5, "top_p": 0.9},
            "cap": 50,
            "text": "".join(random.choice(WORDS) for _ in range(random.randrange(6))) or "a",
        }
        return {name: value for name, value in every.items() if random.random() < 0.3}

    def _other(self, path: str, model: str) -> Json:
        given: Json = {"model": model}
        texts = [self._random.choice(WORDS) or "x" for _ in range(2)]
        match path:
            case "/v1/completions":
                given |= {"prompt": self._random.choice([texts, texts[0], [1, 2, 3]]), "max_tokens": 5, "n": 2}
            case "/v1/embeddings":
                given |= {"input": self._random.choice([texts, texts[0], [1, 2]]), "encoding_format": "float"}
            case "/v1/rerank":
                given |= {"query": texts[0], "documents": texts, "top_n": 1}
            case "/v1/score":
                given |= {"text_1": texts[0], "text_2": texts}
            case "/tokenize":
                given |= {"prompt": texts[0]}
            case _:
                given |= {"model": "guard", "input": texts}
        return given

    # --- what an upstream says -------------------------------------------------------------------------------

    def _answer(self, provider: str, path: str, *, stream: bool, torn: bool) -> tuple[int, str, list[bytes]]:
        random, wire = self._random, WIRES[provider]
        if random.random() < 0.1:
            status = random.choice(STATUSES)
            error = wire.error(status, Refused(status, "no"), openai=provider == "openai")
            return status, "application/json", [self._torn(orjson.loads(error)) if torn else error]
        behaviour = parse("echo")
        assert behaviour is not None
        operation = {"/v1/completions": "completion", "/v1/embeddings": "embeddings"}.get(path, "chat")
        ask = Ask(operation, "m", behaviour, {}, "msg-1", 1, "fp", ["x"], 9, include_usage=True, sizes=[9])
        choice = self._choice()
        given = Answer([choice], choice.tokens, choice.tokens, (9, choice.tokens))
        if not stream or operation != "chat":
            whole = wire.whole(ask, given)
            return 200, "application/json", [self._torn(orjson.loads(whole)) if torn else whole]
        events = [event for step in wire.steps(ask, given) for event in step.events]
        if torn:
            events = self._torn_events(events)
        if random.random() < 0.1:
            events.append(wire.error_event(500, "broken", openai=provider == "openai"))
        if (last := wire.last_event()) is not None and random.random() < 0.9:
            events.append(last)
        return 200, "text/event-stream", [self._framed(event, named=wire.named) for event in events]

    def _choice(self) -> Choice:
        random = self._random
        words = tuple(random.choice(WORDS) for _ in range(random.randrange(1, 7)))
        thoughts = words[:2] if random.random() < 0.3 else ()
        if random.random() < 0.3:
            tools = tuple(Tool(f"call-{n}x", "get_weather", ('{"city"', ':"Par', 'is"}')) for n in (0, 1))
            return Choice(0, reasoning=thoughts, tools=tools[: random.randrange(1, 3)], finish="tool_calls")
        return Choice(0, reasoning=thoughts, content=words, finish=random.choice(["stop", "length", "content_filter"]))

    def _framed(self, event: bytes, *, named: bool) -> bytes:
        if named:
            try:
                kind = str(orjson.loads(event)["type"]).encode()
            except (ValueError, LookupError, TypeError):
                kind = b"odd"
            return b"event: %b\ndata: %b\n\n" % (kind.replace(b"\n", b""), event)
        return b"data: %b\n\n" % event

    def _torn_events(self, events: list[bytes]) -> list[bytes]:
        random = self._random
        events = list(events)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(events))
            match random.randrange(5):
                case 0:
                    events.insert(at, events[at])
                case 1 if len(events) > 1:
                    del events[at]
                case 2:
                    events[at] = random.choice(ODD_TEXT)
                case _:
                    try:
                        events[at] = self._torn(orjson.loads(events[at]))
                    except ValueError:  # it was torn before
                        continue
        return events

    # --- what does not belong there --------------------------------------------------------------------------

    def _torn(self, doc: Any) -> bytes:
        random, doc = self._random, json.loads(_dumps(doc))  # a copy: parts of it are constants
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            doc = self._changed(doc)
        data = _dumps(doc)
        if random.random() < 0.05:
            at = random.randrange(len(data) + 1)
            data = data[:at] + random.choice(ODD_TEXT) + data[at + random.randrange(3) :]
        return data

    def _changed(self, doc: Any) -> Any:
        """With one value, somewhere in it, replaced, dropped, doubled or moved."""
        random = self._random
        places = list(_places(doc))
        if not places:
            return deepcopy(random.choice(ODD))
        holder, key = random.choice(places)
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 2:
                other, elsewhere = random.choice(places)
                holder[key] = deepcopy(other[elsewhere])
            case 3:
                holder[key] = [holder[key]]
            case _:
                holder[key] = deepcopy(random.choice(ODD))
        return doc


def _dumps(doc: Any) -> bytes:
    """JSON, also of numbers that orjson does not write."""
    return json.dumps(doc, ensure_ascii=False, separators=(",", ":")).encode()


def _places(doc: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key in a document."""
    pairs = doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ()
    for key, value in list(pairs):
        yield doc, key
        yield from _places(value)
