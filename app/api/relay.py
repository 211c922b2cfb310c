"""From the path of a request to its caller: an answer that is whole, a stream, a refusal.

Apart from `hot`, which waits in a `finally`: what does so is not compiled.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import suppress

from app.api.answers import Send, send_error, send_json, start_stream
from app.api.cycle import Cycle
from app.api.heads import headers_of, lines_of
from app.api.surface import Surface, Writer
from app.errors import INTERNAL_ERROR, OVERLOADED, GatewayError
from app.exchange import Batch
from app.pipeline.ledger import JournalFailed
from app.pipeline.progress import Progress

_log = logging.getLogger("sluicegate")


async def relay(
    flow: AsyncGenerator[Batch, None], progress: Progress, surface: Surface, send: Send, cycle: Cycle | None
) -> None:
    """Send what the path yields; an error before its first batch is a status, after it an event of the stream.

    An answer's last byte leaves once the path has ended: by then the request is settled and in the ledger.
    """
    writer = surface.writer(progress)
    body = b""
    try:
        batch = await anext(flow)
        streamed = progress.call is not None and progress.call.stream
        if not streamed:
            body = writer.whole(batch[0])
        progress.status = 200
        if not streamed and await anext(flow, None) is not None:
            raise AssertionError("an answer that is not streamed has one event")  # noqa: TRY301 # a bug: it is logged below
    except GatewayError as error:
        if progress.error is None:
            await _tell(flow, error)
        await _refuse(send, error, progress, surface)
        return
    except Exception:
        _log.exception("a request failed inside the gateway", extra={"request_id": progress.request_id})
        await _refuse(send, GatewayError(INTERNAL_ERROR, INTERNAL_ERROR.meaning), progress, surface)
        return
    if streamed:
        await _stream(flow, batch, progress, writer, send)
        return
    await _written(progress)
    if cycle is None or cycle.full:
        await send_json(send, 200, body, headers_of(progress))
    else:
        cycle.answer(b"content-type: application/json\r\n" + lines_of(progress), body)


async def _written(progress: Progress) -> None:
    """Wait for the disk where the ledger does (`stores.spool_fsync: always`).

    A disk that fails then costs no answer: the request is settled at its bound, and the next one is refused.
    """
    if progress.durable is not None:
        with suppress(JournalFailed):
            await progress.durable


async def _tell(flow: AsyncGenerator[Batch, None], error: GatewayError) -> None:
    """An answer that its surface cannot tell is an error of the request: the path hears of it, and settles."""
    with suppress(GatewayError):
        await flow.athrow(error)


async def _refuse(send: Send, error: GatewayError, progress: Progress, surface: Surface) -> None:
    await send_error(send, error, headers_of(progress), surface.document(error, progress.request_id))


async def _stream(
    flow: AsyncGenerator[Batch, None], batch: Batch, progress: Progress, writer: Writer, send: Send
) -> None:
    await start_stream(send, headers_of(progress))
    try:
        await send({"type": "http.response.body", "body": writer.events(batch), "more_body": True})
        progress.sent()
        progress.first_at = progress.last_at
        async for more in flow:
            body = writer.events(more)
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
                progress.sent()
        last = writer.end(None)
    except GatewayError as error:
        if progress.error is None:
            await _tell(flow, error)
        last = writer.end(error)
    except Exception:
        _log.exception("a stream failed inside the gateway", extra={"request_id": progress.request_id})
        last = writer.end(GatewayError(INTERNAL_ERROR, INTERNAL_ERROR.meaning))
    await _written(progress)
    await send({"type": "http.response.body", "body": last})


async def say_goodbye(progress: Progress, surface: Surface, send: Send) -> None:
    """The gateway is shutting down, and this request took longer than it may."""
    error = GatewayError(OVERLOADED, "The gateway is shutting down.", retry_after=1.0)
    if not progress.status:
        await _refuse(send, error, progress, surface)
    elif progress.call is not None and progress.call.stream:
        await send({"type": "http.response.body", "body": surface.writer(progress).end(error)})
