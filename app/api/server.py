"""uvicorn's HTTP protocol with the bounds that it lacks, and one thing more: a caller who leaves cancels the work.

uvicorn tells an application that its caller has left only when asked through `receive`, and a task that asks costs
more than the rest of the relay. Here the protocol cancels the request's own task, with `DISCONNECTED` as its message.
Bounds: time for the head of a request, size of the head, time that a caller may leave a full socket unread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import INVALID_REQUEST, REQUEST_TIMEOUT, REQUEST_TOO_LARGE, Code, GatewayError

DISCONNECTED = "the caller left"
BODY_LATE = "sluicegate.body_late"
"""A key of the scope: set when the body is overdue, just before `receive` is woken."""
MAX_HEAD = 64 * 1024
LINGER = 2.0
_HEAD, _BODY, _LINGER = range(3)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds: for a request's head and then its body to arrive, and for a caller to read on once its socket is full."""

    head: float = 15.0
    body: float = 60.0
    unread: float = 60.0


class Protocol(HttpToolsProtocol):
    """One caller's connection."""

    bounds = Bounds()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected: its first request's head is due."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows the argument
        self.running: asyncio.Task[None] | None = None
        self.stall: asyncio.TimerHandle | None = None
        self.phase = _HEAD
        self.head_size = 0
        self.due: asyncio.TimerHandle | None = self.loop.call_later(self.bounds.head, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone: whatever is still being done for it stops."""
        super().connection_lost(exc)
        self._settle_due()
        if self.stall is not None:
            self.stall.cancel()
        if self.running is not None and not self.running.done() and self.cycle.disconnected:
            self.running.cancel(DISCONNECTED)

    def data_received(self, data: bytes) -> None:
        """Feed the parser. A head must stay within its bound; what is not complete at once gets a time limit."""
        if self.phase is _LINGER:
            return
        if self.phase is _HEAD:
            self.head_size += len(data)
        super().data_received(data)
        if self.phase is _HEAD and self.head_size > MAX_HEAD:
            self._refuse(GatewayError(REQUEST_TOO_LARGE, f"The request's head is over {MAX_HEAD} bytes.", status=431))
        elif self.due is None and (self.phase is _BODY or self.head_size):
            self.due = self.loop.call_later(self.bounds.body if self.phase is _BODY else self.bounds.head, self._late)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self.phase = _BODY
        self._settle_due()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete: what comes next is another's head."""
        self.phase = _HEAD
        self.head_size = 0
        self._settle_due()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out. When the request was refused before it was read, the rest of it is let pass unread.

        Closing at once would reset the connection, and the caller might lose the answer with it.
        """
        super().on_response_complete()
        if self.phase is _BODY and not self.transport.is_closing():
            self._settle_due()
            self.phase = _LINGER
            self.due = self.loop.call_later(LINGER, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer in the shape of every other error."""
        self._refuse(GatewayError(INVALID_REQUEST, "The request is not valid HTTP/1.1."))

    def pause_writing(self) -> None:
        """The caller's socket is full: reading from the upstream stops, and the caller's time runs."""
        super().pause_writing()
        self.stall = self.loop.call_later(self.bounds.unread, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller reads on."""
        super().resume_writing()
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None

    def _late(self) -> None:
        """A head or a body did not arrive in time."""
        self.due = None
        if self.phase is _BODY:
            self.scope[BODY_LATE] = True  # type: ignore[typeddict-unknown-key]  # the application looks for it
            self.cycle.message_event.set()
        elif self.head_size == 0:
            self.transport.close()
        else:
            self._refuse(
                GatewayError(REQUEST_TIMEOUT, f"The request's head did not arrive within {self.bounds.head:g} s.")
            )

    def _settle_due(self) -> None:
        if self.due is not None:
            self.due.cancel()
            self.due = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _refuse(self, error: GatewayError) -> None:
        if self.transport.is_closing():
            return
        body = orjson.dumps(error.document())
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (error.status, _reason(error.code), len(body), body)
        )
        self.transport.close()


def _reason(code: Code) -> bytes:
    return code.name.replace("_", " ").title().encode()
