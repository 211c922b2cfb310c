"""The reply of one HTTP/1.1 exchange: filled by its connection, read by the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from app.errors import Failure, UpstreamFailure
from app.exchange import Timeouts
from app.providers.encoding import Tap, gather

_TIMEOUTS: Final = Timeouts()


class Carrier(Protocol):
    """The connection that a reply comes on."""

    paused: bool
    waiter: asyncio.Future[None] | None
    create_future: Callable[[], asyncio.Future[None]]

    def unpause(self) -> None:
        """Read from the socket again."""

    def finish(self, reply: HttpReply, *, drain: bool) -> None:
        """The reply lets go."""


class HttpReply:
    """A response, from the moment its request is sent.

    Without `stream`, only the deadline holds. With it, the first byte of the response's *body* must come within
    `first_token` of the request (a head alone is no answer: vLLM and proxies send it long before), and each further
    one within `between_tokens` of the one before. A reader that is slow is not the upstream's fault: while reading is
    paused, silence does not count.
    """

    __slots__ = (
        "_headers", "begun", "between", "chunked", "complete", "connection", "deadline", "draining", "encoded",
        "failure", "fields", "head_only", "parts", "patience", "sent", "since", "status", "stream", "tap", "touched",
        "unread",
    )  # fmt: skip

    def __init__(self, timeouts: Timeouts, deadline: float, now: float, *, stream: bool, head_only: bool) -> None:
        self.deadline = deadline
        self.stream = stream
        self.since = now
        self.patience = timeouts.first_token
        self.between = timeouts.between_tokens
        self.head_only = head_only
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.unread = 0
        self.tap: Tap | None = None
        """Gets each piece as it comes; what it leaves is kept in `parts`, and wakes the reader."""
        self.connection: Carrier | None = None
        self.sent = False
        self.touched = False
        """Whether any byte of a response has come."""
        self.chunked = False
        self.encoded = False
        """Whether there is a `content-encoding`."""
        self.begun = False
        """Whether any byte of a body has come; kept for streams only."""
        self.complete = False
        self.failure: tuple[Failure, str] | None = None
        self.draining = False
        """Whether nobody reads any more, and the connection waits for the end of the body on its own."""
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The response's headers: lower-case names, repeated ones joined with a comma. Most replies never need them."""
        headers = self._headers
        if headers is None:
            headers = self._headers = {}
            for raw_name, raw_value in self.fields:
                name = raw_name.decode("latin-1").lower()
                value = raw_value.decode("latin-1").strip(" \t")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    @property
    def unanswered(self) -> bool:
        """Whether the connection closed before any byte of a response."""
        return self.failure is not None and self.failure[0] is Failure.CLOSED

    def until_close(self) -> bool:
        """Whether the body ends where the connection does (RFC 9112, section 6.3, the last case)."""
        headers = self.headers
        return not self.complete and "content-length" not in headers and "transfer-encoding" not in headers

    def due(self) -> float:
        """When the next timeout strikes, in loop time."""
        return min(self.since + self.patience, self.deadline) if self.stream else self.deadline

    def timed_out(self, now: float) -> tuple[Failure, str]:
        """Which timeout has struck."""
        if self.deadline <= now:
            return Failure.TOTAL_TIMEOUT, "the deadline passed"
        if self.begun:
            return Failure.BETWEEN_BYTES_TIMEOUT, f"nothing for {self.patience:g} s"
        return Failure.FIRST_BYTE_TIMEOUT, f"no byte of a body within {self.patience:g} s"

    def error(self) -> UpstreamFailure:
        """The failure as an exception."""
        failure, detail = self.failure or (Failure.TRUNCATED, "read after close")
        return UpstreamFailure(failure, detail, sent=self.sent)

    async def read(self, tap: Tap | None = None) -> bytes:
        """Everything of the body that has come and was not read; empty at the end. Raises `UpstreamFailure`.

        With `tap`, what it leaves of that; while the reader waits, a piece that it takes does not wake him.
        """
        while True:
            if self.parts:
                data = self._take()
                if tap is None or not tap(data):
                    return data
                continue
            if self.complete:
                return b""
            connection = self.connection
            if connection is None or self.failure is not None:
                raise self.error()
            waiter = connection.waiter = connection.create_future()
            self.tap = tap
            try:
                await waiter
            except BaseException:
                self.close()
                raise
            finally:
                self.tap = None

    def tapped(self) -> bool:
        """Whether the tap has taken all that has come; its reader need not wake."""
        parts = self.parts
        if self.tap is None or not self.tap(parts[0] if len(parts) == 1 else b"".join(parts)):
            return False
        self.parts = []
        self.unread = 0
        return True

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises `UpstreamFailure`, also when it is longer than `limit` bytes."""
        if self.complete and self.unread <= limit:
            return self._take() if self.parts else b""
        return await gather(self, limit)

    def close(self, *, drain: bool = False) -> None:
        """Give the connection back if the body has come to its end, or soon will (`drain`), else abort it."""
        connection = self.connection
        if connection is not None:
            self.connection = None
            connection.finish(self, drain=drain)

    def _take(self) -> bytes:
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.parts = []
        self.unread = 0
        connection = self.connection
        if connection is not None and connection.paused:
            connection.unpause()
        return data


NOBODY: Final = HttpReply(_TIMEOUTS, 0.0, 0.0, stream=False, head_only=False)
"""What an idle connection is busy with: a reply that is complete, so nothing can happen to it."""
NOBODY.complete = True
