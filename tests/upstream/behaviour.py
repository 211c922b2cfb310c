"""What a model does is written in its name.

    name = item ("+" item)* ["@" label]            answer-64+pace-2ms+ttft-50ms@blue

A label only makes names differ: counters (`flaky`, `…-first`) are kept per whole name. N, K are whole numbers,
T a time (`200ms`, `1.5s`), B a size (`512`, `64k`, `1m`), S an HTTP status; what stands in brackets may be left out.
A name that does not parse is an unknown model (404), unless it was made an alias of one that does.

    item                        what it does
    echo                        answers with the last user message (this is what happens when nothing else is said)
    answer-N                    answers with N words
    unicode-N                   answers with N words of many scripts and lengths in bytes
    big-B                       answers with one token of B bytes
    slow-T, ttft-T              time to the first token; a non-streamed answer waits for it too
    pace-T                      time between tokens; a non-streamed answer waits for all of them
    head-T                      the response's head waits as well (else a stream's head comes at once)
    multi-token-N               N tokens per chunk
    reasoning-N                 N words of reasoning come first
    refusal                     the answer is a refusal
    content-filter              finish_reason is `content_filter`
    prompt-filter               the prompt is blocked, as Azure (400) and Gemini (200) do it
    tool-call[-N]               calls N tools (1) of those offered, or `get_weather`; after a tool's result it answers
    cached-N                    usage says that N prompt tokens were cached
    cache-write-N               usage says that N prompt tokens were written to the cache (Anthropic)
    no-usage                    never reports usage
    absurd-usage[-N]            reports N times (10) the tokens that were made
    context-N                   the context window (131072)
    dims-N                      length of an embedding (16)
    openai                      speaks as OpenAI does, not as vLLM does (error codes, chunk fields, headers)
    fail-S                      answers status S, with the upstream's own error body
    fail-first-K[-S]            the first K requests get S (503)
    flaky-N[-S]                 every Nth request gets S (500)
    rate-limited[-N]            429 with `retry-after: N` (1)
    rate-limited-first-K[-N]    the first K requests get that
    retry-after-N               whatever fails does so with `retry-after: N`
    hangs                       takes the request and never answers
    hangs-after-N               head and N chunks, then silence
    dies, dies-after-N          resets the connection before the head, or after N chunks
    dies-mid-stream             dies-after-3
    closes, closes-after-N      the same, but closes it politely
    stale                       closes without an answer if the connection has served before; answers on a fresh one
    truncated                   promises more bytes than come, then closes (a stream: no last chunk)
    error-event-first[-S]       HTTP 200, first event is error S (503), as an overloaded vLLM does
    error-event-after-N[-S]     N chunks, error S (500), `[DONE]`, as vLLM with a dead engine does
    bad-json[-N]                200 with garbage; a stream with a broken event after N chunks (1)
    html                        200 with a web page
    empty-stream                a stream without a single event
    empty-body                  200 with no body
    no-done                     no `[DONE]` at the end
    no-finish                   no finish_reason and no usage, but `[DONE]`
    gzip                        compressed, whatever was accepted
    connection-close            closes the connection after the answer, and says so
    until-close                 no length: the answer ends where the connection ends
    early-413                   413 before a large body has been read, then closes
    early-hints                 a 103 response comes before the real one
    health-503                  from this request on `/health` says 503
    crlf, comments, nospace     how events look: line ends, comment lines between, no space after the colon
    split-N                     every event is cut into pieces of N bytes
    joined-N                    N tokens travel in one chunk of the transfer encoding
    clocked                     the log tells when each piece of a stream was written
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")
_SIZE = re.compile(r"(\d+)([km]?)")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A parsed name. Times are seconds. None means: not asked for."""

    answer: int | None = None
    unicode: bool = False
    big: int | None = None
    first: float = 0.0
    pace: float = 0.0
    head: float = 0.0
    multi: int = 1
    reasoning: int = 0
    refusal: bool = False
    content_filter: bool = False
    prompt_filter: bool = False
    tool_calls: int = 0
    cached: int | None = None
    cache_write: int = 0
    usage_factor: int = 1  # 0: none is reported
    context: int = 131072
    dims: int = 16
    openai: bool = False
    fail: int | None = None
    fail_first: tuple[int, int] | None = None
    flaky: tuple[int, int] | None = None
    rate_limited: int | None = None
    rate_limited_first: tuple[int, int] | None = None
    retry_after: int | None = None
    stale: bool = False
    cut: str | None = None  # hangs | dies | closes | truncated
    cut_after: int | None = None  # chunks; None: before the head
    error_event: tuple[int, int] | None = None  # after how many chunks, status
    bad_json: int | None = None
    html: bool = False
    empty: str | None = None  # stream | body
    done: bool = True
    finish: bool = True
    gzip: bool = False
    close: bool = False
    until_close: bool = False
    early_413: bool = False
    early_hints: bool = False
    health: int | None = None
    style: str | None = None  # crlf | comments | nospace
    split: int | None = None
    joined: int = 1
    clocked: bool = False

    @property
    def counted(self) -> bool:
        """Whether what happens depends on how many requests came before."""
        return bool(self.flaky or self.fail_first or self.rate_limited_first)


@dataclass(frozen=True, slots=True)
class Rule:
    """One item: kinds of its arguments (P: N above 0; lower case: may be left out), their defaults, what they set."""

    kinds: str = ""
    defaults: tuple[int, ...] = ()
    field: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()


def _flag(**fixed: object) -> Rule:
    return Rule(fixed=tuple(fixed.items()))


RULES: dict[str, Rule] = {
    "echo": _flag(),
    "answer": Rule("N", field="answer"),
    "unicode": Rule("N", field="answer", fixed=(("unicode", True),)),
    "big": Rule("B", field="big"),
    "slow": Rule("T", field="first"),
    "ttft": Rule("T", field="first"),
    "pace": Rule("T", field="pace"),
    "head": Rule("T", field="head"),
    "multi-token": Rule("P", field="multi"),
    "reasoning": Rule("N", field="reasoning"),
    "refusal": _flag(refusal=True),
    "content-filter": _flag(content_filter=True),
    "prompt-filter": _flag(prompt_filter=True),
    "tool-call": Rule("p", (1,), field="tool_calls"),
    "cached": Rule("N", field="cached"),
    "cache-write": Rule("N", field="cache_write"),
    "no-usage": _flag(usage_factor=0),
    "absurd-usage": Rule("n", (10,), field="usage_factor"),
    "context": Rule("P", field="context"),
    "dims": Rule("P", field="dims"),
    "openai": _flag(openai=True),
    "fail": Rule("S", field="fail"),
    "fail-first": Rule("Ns", (503,), field="fail_first"),
    "flaky": Rule("Ps", (500,), field="flaky"),
    "rate-limited": Rule("n", (1,), field="rate_limited"),
    "rate-limited-first": Rule("Nn", (1,), field="rate_limited_first"),
    "retry-after": Rule("N", field="retry_after"),
    "stale": _flag(stale=True),
    "hangs": _flag(cut="hangs"),
    "hangs-after": Rule("N", field="cut_after", fixed=(("cut", "hangs"),)),
    "dies": _flag(cut="dies"),
    "dies-after": Rule("N", field="cut_after", fixed=(("cut", "dies"),)),
    "dies-mid-stream": _flag(cut="dies", cut_after=3),
    "closes": _flag(cut="closes"),
    "closes-after": Rule("N", field="cut_after", fixed=(("cut", "closes"),)),
    "truncated": _flag(cut="truncated", cut_after=3),
    "error-event-first": Rule("s", (503,), field="error_event"),
    "error-event-after": Rule("Ns", (500,), field="error_event"),
    "bad-json": Rule("n", (1,), field="bad_json"),
    "html": _flag(html=True),
    "empty-stream": _flag(empty="stream"),
    "empty-body": _flag(empty="body"),
    "no-done": _flag(done=False),
    "no-finish": _flag(finish=False, usage_factor=0),
    "gzip": _flag(gzip=True),
    "connection-close": _flag(close=True),
    "until-close": _flag(until_close=True, close=True),
    "early-413": _flag(early_413=True),
    "early-hints": _flag(early_hints=True),
    "health-503": _flag(health=503),
    "crlf": _flag(style="crlf"),
    "comments": _flag(style="comments"),
    "nospace": _flag(style="nospace"),
    "split": Rule("P", field="split"),
    "joined": Rule("P", field="joined"),
    "clocked": _flag(clocked=True),
}
_NAMES = sorted(RULES, key=len, reverse=True)


@lru_cache(maxsize=4096)
def parse(name: str) -> Behaviour | None:
    """The behaviour that a model name asks for; None if the name does not follow the grammar."""
    found = Behaviour()
    spec = name.partition("@")[0]
    for item in spec.split("+"):
        fields = _item(item)
        if fields is None:
            return None
        found = replace(found, **fields)
    plain = found.answer is None and found.big is None
    late = max(found.cut_after or 0, found.error_event[0] if found.error_event else 0, found.bad_json or 0)
    return replace(found, answer=max(16, 2 * late)) if plain and late else found


def _item(item: str) -> dict[str, Any] | None:
    """The fields that one item sets, or None if there is no such item."""
    name = next((n for n in _NAMES if item == n or item.startswith(n + "-")), None)
    if name is None:
        return None
    rule = RULES[name]
    words = item[len(name) + 1 :].split("-") if len(item) > len(name) else []
    needed = sum(kind.isupper() for kind in rule.kinds)
    if not needed <= len(words) <= len(rule.kinds):
        return None
    values = [_value(kind.upper(), word) for kind, word in zip(rule.kinds, words, strict=False)]
    if None in values:
        return None
    values += rule.defaults[len(values) - needed :]
    fields = dict(rule.fixed)
    if name == "error-event-first":
        values = [0, *values]
    if rule.field:
        fields[rule.field] = values[0] if len(values) == 1 else tuple(values)
    return fields


def _value(kind: str, word: str) -> int | float | None:
    """One argument, or None if it is not of its kind."""
    if kind == "T":
        match = _TIME.fullmatch(word)
        return float(match[1]) / (1000 if match[2] == "ms" else 1) if match else None
    if kind == "B":
        match = _SIZE.fullmatch(word)
        return int(match[1]) * _UNITS[match[2]] if match else None
    if not (word.isascii() and word.isdigit()):
        return None
    number = int(word)
    low, high = {"N": (0, 10**9), "P": (1, 10**9), "S": (400, 599)}[kind]
    return number if low <= number <= high else None
