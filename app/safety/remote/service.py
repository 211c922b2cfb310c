"""A service behind an address: JSON over HTTP, through the gateway's own transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from app.errors import UpstreamFailure
from app.exchange import JsonObject, Outbound, Timeouts
from app.pipeline.call import Transport
from app.safety.detector import DetectorFailure
from app.table import endpoint_of

LONGEST: Final = 30.0
"""Seconds that a question may take; a guard's `deadline_ms` is mostly shorter, and cancels it."""
MOST_ANSWER: Final = 1024 * 1024
MOST_AT_A_TIME: Final = 64
"""Questions of one worker that may be under way; the next ones wait for a place, as long as their guard does."""
MOST_PIECES: Final = 16
"""Questions that one text may be cut into; a longer one is a failure, so that the guard's `on_error` says what then."""
OVERLAP: Final = 200
"""Characters that two pieces of one text share, so that what stands on a cut is seen whole."""


class Service:
    """One service. Raises `DetectorFailure` and nothing else; its text names neither the text nor a credential."""

    def __init__(self, transport: Transport, url: str, headers: Mapping[str, str]) -> None:
        self._transport = transport
        self._endpoint = endpoint_of(url)
        self._headers = (("content-type", "application/json"), *headers.items())
        self._timeouts = Timeouts(connect=5.0, first_token=LONGEST, between_tokens=LONGEST, total=LONGEST)
        self._places = asyncio.Semaphore(MOST_AT_A_TIME)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """The answer to a question."""
        raw = orjson.dumps(body)
        outbound = Outbound("POST", path, self._headers, raw, stream=False)
        try:
            async with self._places:
                status, answer = await self._send(outbound)
        except UpstreamFailure as failure:
            raise DetectorFailure(f"the service cannot be reached: {failure.failure.name.lower()}") from failure
        if status != 200:
            raise DetectorFailure(f"the service answered with status {status}")
        try:
            found: Any = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise DetectorFailure("the service answered with what is no JSON") from None
        if type(found) is not dict:
            raise DetectorFailure("the service answered with another shape")
        return found

    async def _send(self, outbound: Outbound) -> tuple[int, bytes]:
        deadline = asyncio.get_running_loop().time() + LONGEST
        reply = await self._transport.send(self._endpoint, outbound, self._timeouts, deadline)
        try:
            answer = await reply.read_all(MOST_ANSWER)
        except BaseException:
            reply.close()
            raise
        reply.close(drain=True)
        return reply.status, answer


def pieces(text: str, most: int) -> list[str]:
    """The text in pieces of at most `most` characters that overlap. Raises `DetectorFailure` for too many of them."""
    if len(text) <= most:
        return [text]
    step = most - OVERLAP
    starts = range(0, len(text) - OVERLAP, step)
    if len(starts) > MOST_PIECES:
        raise DetectorFailure(
            f"a text is too long for the service: more than {MOST_PIECES} pieces of {most} characters"
        )
    return [text[start : start + most] for start in starts]


def sendable(text: str) -> str:
    """JSON has no lone surrogates; a caller's text may."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
