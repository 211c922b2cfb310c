"""Forbidden spans in generated streams, cut everywhere: how many of their characters reach the caller in strict mode.

    python -m scripts.safety_streams [--streams 10000] [--seed 1]

Every stream is server-sent events, watched by a guard as answers are: cut into pieces of bytes (also inside a
character) and parsed, or whole events as most upstreams send them, which are parsed where a glance is not enough.
Pauses of 0 to 2 s stand on a virtual clock. Prints counts by kind of span; exits with 1 on any leak.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter

import orjson

from app.config import CompletionStage
from app.exchange import Call, Event, JsonObject, Operation
from app.pipeline.report import Report
from app.providers.sse import SSEParser
from app.safety.actions import Actions
from app.safety.answers import Answers
from app.safety.stage import Stage
from app.safety.terms import Lexicon, parse

LONG = " ".join(f"clause{number:02d}word" for number in range(19))  # longer than `hold_chars`, 200 by default
SPANS = {
    "one character": "\u00a7",
    "a short word": "bomb",
    "two words": "internal codename",
    "longer than hold_chars": LONG,
    "Japanese": "\u6975\u79d8\u8a08\u753b",
    "a card number": "4111 1111 1111 1111",
    "an e-mail address": "alice.b@example.com",
}
FILLER = [
    "The", "quick", "brown", "fox,", "caf\u00e9", "and", "\u5929\u6c17", "\U0001f600", "run", "over", "12", "lazy",
    "dogs;", "it", "costs", "3.50", "\u20ac", "-", "is", "that", "so?",
]  # fmt: skip
PLACES = ("content", "second choice", "tool arguments", "reasoning_content")


def stage(action: str) -> Stage:
    """The guard's stage: terms and personal data, with one action."""
    terms = [parse(span) for name, span in SPANS.items() if not name.startswith(("a card", "an e-mail"))]
    settings = CompletionStage.model_validate({"detectors": ("rules", "pii")})
    return Stage(settings, Actions("completion", {}, {"blocklist": action, "pii": action}), Lexicon(terms), {})


def pieces(text: str, chance: random.Random) -> list[str]:
    """As characters, as tokens of a few, or in larger stretches."""
    sizes = chance.choice(((1,), (1, 2, 3, 4, 5), (3, 10, 40)))
    cut: list[str] = []
    while text:
        size = chance.choice(sizes)
        cut.append(text[:size])
        text = text[size:]
    return cut


def chunk(place: str, piece: str) -> JsonObject:
    """One event that says a piece."""
    delta: JsonObject = {place: piece}
    if place == "tool arguments":
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    elif place == "second choice":
        delta = {"content": piece}
    return {"id": "c", "choices": [{"index": int(place == "second choice"), "delta": delta, "finish_reason": None}]}


def wire(docs: list[JsonObject], chance: random.Random) -> list[bytes]:
    """The events as bytes: one, two or three at a time, or cut anywhere."""
    events = [b"data: " + orjson.dumps(doc) + b"\n\n" for doc in docs]
    size = chance.choice((1, 1, 2, 3, 7, 64, 1024))
    if size <= 3:
        return [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
    data = b"".join(events)
    return [data[at : at + size] for at in range(0, len(data), size)]


def said(place: str, docs: list[JsonObject]) -> str:
    """What reached the caller in that place."""
    text = ""
    for doc in docs:
        for choice in doc["choices"]:
            delta = choice["delta"]
            if place == "tool arguments":
                text += "".join(one["function"]["arguments"] for one in delta.get("tool_calls", []))
            elif choice["index"] == int(place == "second choice"):
                text += delta.get("content" if place == "second choice" else place) or ""
    return text


async def watched(answers: Answers, pieces: list[bytes], chance: random.Random) -> list[JsonObject]:
    """The events that leave."""
    parser, now, out = SSEParser(), 1.0, []
    for piece in pieces:
        now += chance.choice((0.0, 0.0, 0.02, 2.0))
        seen = answers.glance(piece, now) if parser.between and not answers.cut else None
        if seen is not None:
            out += [orjson.loads(data) for data in SSEParser().feed(seen)]
            continue
        for data in parser.feed(piece):
            if not answers.cut:
                out += [event.doc for event in answers.feed([Event(data, orjson.loads(data))], now)]
    return out


async def one(kind: str, action: str, chance: random.Random, guard: Stage) -> tuple[int, int]:
    """One stream; how many forbidden characters leaked, and how many of the others were lost or moved."""
    span, place = SPANS[kind], chance.choice(PLACES)
    before = " ".join(chance.choices(FILLER, k=chance.randint(0, 12)))
    before += " " if before else ""
    after = " " + " ".join(chance.choices(FILLER, k=chance.randint(0, 12))) if chance.random() < 0.8 else ""
    if place == "tool arguments":  # JSON text, escapes and all
        span, before, after = (json.dumps(text)[1:-1] for text in (span, before, after))
        before, after = f'{{"q": "{before}', f'{after}"}}'
    docs = [chunk(place, piece) for piece in pieces(before + span + after, chance)]
    other = [chunk("second choice" if place == "content" else "content", "ok. ")]
    ends = [{"id": "c", "choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in (0, 1)]}]
    call = Call(Operation.CHAT, "m", True, False, {}, 0, choices=2)  # noqa: FBT003 - named in the tuple
    answers = Answers(call, guard, Report("g"), None, {})
    text = said(place, await watched(answers, wire(other + docs + ends, chance), chance))
    if action == "block":
        return max(0, len(text) - len(before)), 0
    expected = before + "[" + text[len(before) + 1 :].partition("]")[0] + "]" + after
    leaked = len(span) if span in text else 0
    return leaked, int(text != expected and not leaked)


async def run(streams: int, seed: int) -> int:
    """All of them; returns the exit status."""
    guards = {action: stage(action) for action in ("block", "redact")}
    leaks: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    wrong = 0
    for number in range(streams):
        chance = random.Random(seed * 1_000_003 + number)
        kind, action = chance.choice(list(SPANS)), chance.choice(("block", "redact"))
        leaked, other = await one(kind, action, chance, guards[action])
        counts[kind] += 1
        leaks[kind] += leaked
        wrong += other
        if leaked or other:
            print(f"stream {number}: {kind}, {action}: {leaked} leaked, {other} wrong")
    for kind in SPANS:
        print(f"{kind:24} {counts[kind]:6} streams {leaks[kind]:6} forbidden characters out")
    total = sum(leaks.values())
    print(f"{'all':24} {streams:6} streams {total:6} forbidden characters out; {wrong} texts altered otherwise")
    return int(bool(total or wrong))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(asyncio.run(run(given.streams, given.seed)))


if __name__ == "__main__":
    main()
