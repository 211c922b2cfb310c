"""From the path of a request to its caller: an answer that is whole, a stream, a refusal."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import suppress

from app.api.answers import STREAM_HEAD, Send, send_error, send_json, start_stream
from app.api.cycle import Cycle
from app.api.heads import headers_of, lines_of
from app.api.surface import Surface, Writer
from app.errors import INTERNAL_ERROR, OVERLOADED, GatewayError
from app.exchange import Batch
from app.pipeline.ledger import JournalFailed
from app.pipeline.progress import Progress
from app.pipeline.serve import Arrival, Services, serve

_STREAM_LINES = b"".join(b"%b: %b\r\n" % line for line in STREAM_HEAD)
_log = logging.getLogger("sluicegate")


class Relay:
    """Takes one answer to its caller.

    An answer's last byte leaves once the path has ended: by then the request is settled and in the ledger.
    """

    __slots__ = ("_body", "_cycle", "_progress", "_send", "_streams", "_surface", "_writer")

    def __init__(self, progress: Progress, surface: Surface, send: Send, cycle: Cycle | None) -> None:
        self._progress = progress
        self._surface = surface
        self._writer: Writer = surface.writer(progress)
        self._send = send
        self._cycle = cycle
        self._body = b""
        self._streams = False
        """Whether the head of a stream has left: an error is an event of it from now on, before it a status."""

    async def run(self, arrival: Arrival, services: Services) -> None:
        """Answer the request, whatever becomes of it."""
        progress, cycle, failed = self._progress, self._cycle, None
        try:
            await serve(arrival, progress, services, self._deliver)
        except GatewayError as error:
            failed = error
        except Exception:
            _log.exception("a request failed inside the gateway", extra={"request_id": progress.request_id})
            failed = GatewayError(INTERNAL_ERROR, INTERNAL_ERROR.meaning)
        if self._streams:
            last = self._writer.end(failed)
            if progress.durable is not None:
                await _on_disk(progress.durable)
            if cycle is None or cycle.full:
                await self._send({"type": "http.response.body", "body": last})
            else:
                cycle.write(last, last=True)
        elif failed is not None:
            await _refuse(self._send, failed, progress, self._surface)
        else:
            if progress.durable is not None:
                await _on_disk(progress.durable)
            if cycle is None or cycle.full:
                await send_json(self._send, 200, self._body, headers_of(progress))
            else:
                cycle.answer(b"content-type: application/json\r\n" + lines_of(progress), self._body)

    async def _deliver(self, batch: Batch) -> None:
        """The next events: pieces of a stream go out at once, a whole answer waits for the end of the path."""
        progress = self._progress
        if not self._streams and (progress.call is None or not progress.call.stream):
            if progress.status:
                raise AssertionError("an answer that is not streamed has one event")
            self._body = self._writer.whole(batch[0])
            progress.status = 200
            return
        cycle, begins = self._cycle, not self._streams
        if begins:
            progress.status = 200
            self._streams = True
            if cycle is None:
                await start_stream(self._send, headers_of(progress))
            else:
                cycle.begin(_STREAM_LINES + lines_of(progress))
        body = self._writer.events(batch)
        if body or begins:
            if cycle is None or cycle.full:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
            else:
                cycle.write(body)
            progress.sent()
        if begins:
            progress.first_at = progress.last_at


async def _on_disk(durable: Awaitable[None]) -> None:
    """Wait for the disk where the ledger does (`stores.spool_fsync: always`).

    A disk that fails then costs no answer: the request is settled at its bound, and the next one is refused.
    """
    with suppress(JournalFailed):
        await durable


async def _refuse(send: Send, error: GatewayError, progress: Progress, surface: Surface) -> None:
    await send_error(send, error, headers_of(progress), surface.document(error, progress.request_id))


async def say_goodbye(progress: Progress, surface: Surface, send: Send) -> None:
    """The gateway is shutting down, and this request took longer than it may."""
    error = GatewayError(OVERLOADED, "The gateway is shutting down.", retry_after=1.0)
    if not progress.status:
        await _refuse(send, error, progress, surface)
    elif progress.call is not None and progress.call.stream:
        await send({"type": "http.response.body", "body": surface.writer(progress).end(error)})
