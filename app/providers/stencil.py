"""Chunks of a stream that need no more than a glance: the same as one that was read, but for the text.

What such a chunk means is known without parsing it: where an event begins and ends with the very bytes of one that was
parsed, and a sound JSON string stands between, it is the same document with another text. So it is not the end, no
error, says something, and carries as much as the other did. Anything else is no match, and is parsed. Pure.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

import orjson

from app.pipeline.cutout import cut_out
from app.providers.sse import MAX_EVENT

_USAGE: Final = re.compile(
    rb',"usage":\{"prompt_tokens":(?P<read>\d+),"total_tokens":\d+,"completion_tokens":\d+(?P<more>(?:,"\w+":null)*)\}'
)
_DIGITS: Final = 20


class Stencil(Protocol):
    """A chunk with its text cut out. `events` and `made` tell of the last match."""

    events: int
    """How many there were in the piece."""
    made: int
    """Output tokens by the upstream's running count, where it keeps one."""

    def trace(self, piece: bytes) -> bytes:
        """What the caller gets of a piece of the body that is whole events of this shape; empty when it is not."""


class Plain:
    """Goes to the caller as it came."""

    __slots__ = ("_begin", "_end", "events", "made")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._begin = b"data: " + before
        self._end = after + b"\n\n"
        self.events = 0
        self.made = 0

    def trace(self, piece: bytes) -> bytes:
        """The piece itself."""
        begin, end = self._begin, self._end
        at = events = 0
        size = len(piece)
        try:
            if piece.endswith(end) and piece.startswith(begin):
                said = piece[len(begin) - 1 : 1 - len(end)]
                if b"\n" not in said:  # one event: what stands between is read as one string
                    self.events = 1
                    return piece if orjson.loads(said) and size <= MAX_EVENT else b""
            while at < size:
                text = at + len(begin)
                stop = piece.find(end, text) if piece.startswith(begin, at) else -1
                # The slice holds the text's own quotes.
                if stop < 0 or not orjson.loads(piece[text - 1 : stop + 1]):
                    return b""
                at = stop + len(end)
                events += 1
        except orjson.JSONDecodeError:
            return b""
        self.events = events
        return piece if size <= MAX_EVENT else b""


class Running:
    """Carries running usage (vLLM's), which is read, and goes to the caller without it unless he is `asked` for it."""

    __slots__ = ("_asked", "_begin", "_end", "_kept", "_made", "_total", "events", "made")

    def __init__(self, before: bytes, after: bytes, usage: re.Match[bytes], *, asked: bool) -> None:
        self._asked = asked
        self._begin = b"data: " + before
        self._total = after[: usage.end("read")] + b',"total_tokens":'
        self._made = b',"completion_tokens":'
        rest = after[usage.end() :] + b"\n\n"
        self._end = usage["more"] + b"}" + rest
        self._kept = after[: usage.start()] + rest
        self.events = 0
        self.made = 0

    def trace(self, piece: bytes) -> bytes:
        """The piece without usage."""
        begin, total, made, end = self._begin, self._total, self._made, self._end
        at = events = 0
        size = len(piece)
        out: list[bytes] = []
        count = 0
        try:
            while at < size:
                text = at + len(begin)
                stop = piece.find(total, text) if piece.startswith(begin, at) else -1
                if stop < 0 or not orjson.loads(piece[text - 1 : stop + 1]):
                    return b""
                first = stop + len(total)
                middle = piece.find(made, first, first + _DIGITS + len(made))
                second = middle + len(made)
                last = piece.find(end, second, second + _DIGITS + len(end))
                count = _number(piece[second:last])
                if middle < 0 or last < 0 or count < 0 or _number(piece[first:middle]) < 0:
                    return b""
                out += (piece[at:stop], self._kept)
                at = last + len(end)
                events += 1
        except orjson.JSONDecodeError:
            return b""
        self.events = events
        self.made = count
        return b"" if size > MAX_EVENT else piece if self._asked else b"".join(out)


def plain(data: bytes) -> Plain | None:
    """The stencil of a chunk that says something, to which nothing else happens; None when its text is not found."""
    parts = cut_out(data)
    return None if parts is None else Plain(*parts)


def running(data: bytes, *, asked: bool) -> tuple[Running, int] | None:
    """The stencil of a chunk with running usage, and its input tokens; None when either is not found."""
    parts = cut_out(data)
    if parts is None:
        return None
    usage = _USAGE.search(parts[1])
    if usage is None or b'"usage"' in parts[0] or parts[1].count(b'"usage"') > 1:
        return None
    return Running(*parts, usage, asked=asked), int(usage["read"])


def _number(text: bytes) -> int:
    """A JSON number without sign; -1 for anything else, also for one with space around it."""
    return int(text) if text.isdigit() and (text[0] != 0x30 or len(text) == 1) else -1
