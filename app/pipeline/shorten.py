"""How what does not fit is made to fit: turns dropped or summarised, a text worked through in pieces.

Whatever is left out or written anew is told: in a header, in the log. Calls made on the way are the tenant's, and told
too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from app.errors import CONTEXT_LENGTH_EXCEEDED, GatewayError, Outcome
from app.exchange import Call, JsonObject
from app.pipeline import pieces
from app.pipeline.turns import droppable, reshaped, without
from app.table import Overflow

AT_A_TIME = 4
"""Pieces of one text that are worked on at the same time."""
_MARGIN = 2048
"""Bytes of a request for what stands around a piece of text."""
_MAY_GO_ON = frozenset(
    {
        Outcome.UPSTREAM_ERROR,
        Outcome.UPSTREAM_TIMEOUT,
        Outcome.UPSTREAM_REJECTED,
        Outcome.OVERLOADED,
        Outcome.REFUSED_INVALID,
    }
)

Fits = Callable[[Call, int], Awaitable[bool]]
"""Whether a call fits with so many tokens to spare."""


class Spent(NamedTuple):
    """What calls on the way have cost, those that failed too."""

    calls: int = 0
    tokens: int = 0
    nano_usd: int = 0

    def plus(self, tokens: int, nano_usd: int) -> Spent:
        """With one more call."""
        return Spent(self.calls + 1, self.tokens + tokens, self.nano_usd + nano_usd)

    @property
    def told(self) -> str:
        """As the header `x-sluicegate-fit` tells it."""
        return f"calls={self.calls}; tokens={self.tokens}; usd={self.nano_usd / 1e9:.9f}"


class Ask(Protocol):
    """Makes calls of the gateway's own, on the tenant's account."""

    @property
    def allowed(self) -> bool:
        """Whether it may: a call that was itself made on the way makes none."""

    @property
    def spent(self) -> Spent:
        """What its calls have cost so far."""

    async def __call__(self, model: str, body: JsonObject, purpose: str) -> str:
        """The text of the answer. Raises `GatewayError`."""

    def window(self, model: str) -> int:
        """The tokens that prompt and answer of this model may have together."""


class Shortened(NamedTuple):
    """A call that fits, and what was done, as a header tells it."""

    call: Call
    told: str
    action: str


async def truncated(
    call: Call, fits: Fits, *, spare: int = 0, told: str | None = None
) -> tuple[Call, list[int]] | None:
    """The call without as many of its oldest turns as must go, and their places; None where that does not help.

    `told` is put before what the user says first thereafter.
    """
    groups = droppable(call.body["messages"])
    gone = [[place for group in groups[:count] for place in group] for count in range(len(groups) + 1)]
    if not groups or not await fits(without(call, set(gone[-1]), told=told), spare):
        return None
    low, high = 1, len(groups)
    while low < high:
        middle = (low + high) // 2
        if await fits(without(call, set(gone[middle]), told=told), spare):
            high = middle
        else:
            low = middle + 1
    return without(call, set(gone[low]), told=told), sorted(gone[low])


async def truncate(call: Call, fits: Fits) -> Shortened | None:
    """Drop the oldest turns."""
    found = await truncated(call, fits)
    return None if found is None else Shortened(found[0], f"truncate; dropped={len(found[1])}", "truncate")


async def summarise(call: Call, fits: Fits, overflow: Overflow, ask: Ask) -> Shortened | None:
    """Put a summary in the place of the oldest turns; where none can be had, or none that fits, they are dropped."""
    found = await truncated(call, fits, spare=overflow.summary_tokens)
    if found is None:
        return await truncate(call, fits)
    short, gone = found
    messages = call.body["messages"]
    parts = _parts(pieces.transcript(messages[place] for place in gone), overflow, ask)
    summary = await _summary(parts, overflow, ask)
    if summary is None:
        return Shortened(short, f"truncate; dropped={len(gone)}; summary=failed; {ask.spent.told}", "truncate")
    # Its tokens are not the ones in which its cap was counted: it may be that more turns have to go.
    better = await truncated(call, fits, told=f"{pieces.SUMMARY_HEAD}\n{summary}")
    if better is None:
        return Shortened(short, f"truncate; dropped={len(gone)}; summary=too_long; {ask.spent.told}", "truncate")
    return Shortened(better[0], f"summarise; dropped={len(better[1])}; {ask.spent.told}", "summarise")


def _parts(text: str, overflow: Overflow, ask: Ask) -> list[str]:
    """A text in pieces that the summariser can read. Raises `GatewayError` where they are too many."""
    room = ask.window(overflow.summarise_with or "") - 2 * overflow.summary_tokens - _MARGIN
    parts = list(pieces.cut(text, max(room, _MARGIN)))
    if len(parts) > overflow.max_pieces:
        raise too_many(len(parts), overflow.max_pieces)
    return parts


async def _summary(parts: Sequence[str], overflow: Overflow, ask: Ask) -> str | None:
    """A summary of a text: of each piece, given that of the pieces before it. None where the summariser fails."""
    model = overflow.summarise_with or ""
    summary = ""
    for part in parts:
        before = f"{pieces.SUMMARY_SO_FAR}\n{summary}\n\n" if summary else ""
        asked = [{"role": "system", "content": pieces.SUMMARY_TASK}, {"role": "user", "content": f"{before}{part}"}]
        try:
            summary = await ask(model, {"messages": asked, "max_tokens": overflow.summary_tokens}, "summary")
        except GatewayError as error:
            if error.outcome not in _MAY_GO_ON:
                raise
            return None
    return summary


async def chunk(call: Call, fits: Fits, overflow: Overflow, ask: Ask) -> Shortened | None:
    """Work through the longest text of the user's in pieces, and ask for one answer from what came of them."""
    place = _longest(call)
    if place is None:
        return None
    head, body, tail = pieces.framed(call.body["messages"][place]["content"])
    size = await _piece_size(call, place, (head, tail), fits)
    if size is None:
        return None
    texts = list(pieces.cut(body, size))
    while True:
        if len(texts) > overflow.max_pieces:
            raise too_many(len(texts), overflow.max_pieces)
        count = len(texts)
        marked = (f"{pieces.PART.format(number=at, count=count)}\n{text}" for at, text in enumerate(texts, start=1))
        asked = [_with(call, place, pieces.whole(head, text, tail)).body for text in marked]
        results = await _map(call.model, asked, ask)
        combined = f"{pieces.COMBINE.format(count=count)}\n\n{pieces.numbered(results)}"
        final = _with(call, place, pieces.whole(head, combined, tail))
        if await fits(final, 0):
            return Shortened(final, f"chunk; chunks={count}; {ask.spent.told}", "chunk")
        texts = list(pieces.cut(pieces.numbered(results), size))
        if len(texts) >= count:  # what came of the pieces is as long as they were: it never will fit
            return None


async def _piece_size(call: Call, place: int, frame: tuple[str, str], fits: Fits) -> int | None:
    """Bytes of the largest piece that fits, within a tenth; None where hardly any do."""
    body = pieces.framed(call.body["messages"][place]["content"])[1]
    low, high = 0, len(body.encode("utf-8", "surrogatepass"))
    while high - low > max(high // 10, 64):
        middle = (low + high) // 2
        probe = next(pieces.cut(body, middle))
        mark = pieces.PART.format(number=999, count=999)
        if await fits(_with(call, place, pieces.whole(frame[0], f"{mark}\n{probe}", frame[1])), 0):
            low = middle
        else:
            high = middle
    return low if low >= 256 else None


async def _map(model: str, bodies: Sequence[JsonObject], ask: Ask) -> list[str]:
    results: list[str] = []
    for start in range(0, len(bodies), AT_A_TIME):
        group = [ask(model, body, "chunk") for body in bodies[start : start + AT_A_TIME]]
        for answer in await asyncio.gather(*group, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            results.append(answer)
    return results


def _longest(call: Call) -> int | None:
    """The place of the user's longest text."""
    sizes = [
        (len(message["content"]), place)
        for place, message in enumerate(call.body["messages"])
        if message["role"] == "user" and type(message.get("content")) is str
    ]
    return max(sizes)[1] if sizes else None


def _with(call: Call, place: int, text: str) -> Call:
    messages = list(call.body["messages"])
    messages[place] = {**messages[place], "content": text}
    return reshaped(call, {**call.body, "messages": messages})


def answer_text(doc: JsonObject) -> str:
    """The text of an answer; empty where it holds none."""
    choices = doc.get("choices")
    first = choices[0] if type(choices) is list and choices else None
    message = first.get("message") if type(first) is dict else None
    text = message.get("content") if type(message) is dict else None
    return text if type(text) is str else ""


def too_many(count: int, most: int) -> GatewayError:
    """The refusal of a text that would take more calls than the operator allows."""
    message = f"The text is too long for this model: it would be read in {count} pieces, and {most} are allowed here."
    return GatewayError(CONTEXT_LENGTH_EXCEEDED, message, param="messages")
