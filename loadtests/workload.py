"""What the benchmark asks, and what a right answer is.

A chat request with a 200-token prompt (the fake upstream's tokens are words, 3 more per message), answered by 64
tokens, whole or as a stream of 64 chunks 2 ms apart. The upstream's behaviour is chosen by the model's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import orjson

from loadtests.line import Answer, Leave, Shot
from loadtests.wire import request_bytes

PROMPT_WORDS = 197
TOKENS = 64
PACE_MS = 2
BRIEF = 4
"""Chunks of the short stream, from whose cost and that of the long one the fixed cost per stream follows."""

WHOLE_MODEL = f"answer-{TOKENS}"
STREAM_MODEL = f"answer-{TOKENS}+pace-{PACE_MS}ms+clocked"
BRIEF_MODEL = f"answer-{BRIEF}+pace-{PACE_MS}ms"

_SENTENCE = (
    "the keeper of the lock writes down every evening how high the water stood what came through the gate and who "
    "had asked for it so that nobody who lives below can say that the river was kept from them without a reason "
)
PROMPT = " ".join((_SENTENCE * 6).split()[:PROMPT_WORDS])


@dataclass(frozen=True, slots=True)
class Door:
    """Where a gateway takes chat requests, and the headers it wants."""

    host: str
    port: int
    headers: tuple[tuple[str, str], ...] = ()
    path: str = "/v1/chat/completions"

    def shot(self, body: bytes, *, kind: str = "", leave: Leave | None = None) -> Shot:
        """A request with this body."""
        headers = {"host": f"{self.host}:{self.port}", "content-type": "application/json", "accept": "*/*"}
        return Shot(request_bytes("POST", self.path, headers | dict(self.headers), body), kind, leave)


def chat(model: str, *, stream: bool, prompt: str = PROMPT, max_tokens: int = TOKENS) -> bytes:
    """The JSON of a chat request."""
    messages = [{"role": "user", "content": prompt}]
    document = {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0.2}
    return orjson.dumps(document | ({"stream": True} if stream else {}))


def again(shot: Shot, times: int) -> Iterator[Shot]:
    """The same request so many times."""
    return repeat(shot, times)


def check_whole(answer: Answer) -> str | None:
    """What is wrong with the answer to a request that was not streamed; None if nothing is."""
    if answer.fault is not None or answer.status != 200:
        return answer.fault or f"HTTP {answer.status}: {answer.body[:200]!r}"
    try:
        document = orjson.loads(answer.body)
        words = document["choices"][0]["message"]["content"].split(" ")
        counted = document["usage"]["completion_tokens"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return f"not a chat completion ({error!r}): {answer.body[:200]!r}"
    return None if len(words) == counted == TOKENS else f"{len(words)} words, {counted} tokens of usage"


def contents(body: bytes) -> list[str]:
    """The pieces of text that a chat stream carries; raises ValueError, LookupError or TypeError on what is none."""
    found: list[str] = []
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
            continue
        document = orjson.loads(line[5:])
        if document["choices"] and (text := document["choices"][0]["delta"].get("content")):
            found.append(text)
    return found


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """Tells what is wrong with a stream that should bring `chunks` pieces of text and `[DONE]`."""

    chunks: int

    def __call__(self, answer: Answer) -> str | None:
        """None if nothing is wrong."""
        if answer.fault is not None or answer.status != 200:
            return answer.fault or f"HTTP {answer.status}: {answer.body[:200]!r}"
        try:
            found = len(contents(answer.body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return f"not a chat stream ({error!r}): {answer.body[:200]!r}"
        if not answer.body.rstrip().endswith(b"data: [DONE]"):
            return f"no [DONE] at the end: {answer.body[-80:]!r}"
        return None if found == self.chunks else f"{found} chunks of text, not {self.chunks}"
