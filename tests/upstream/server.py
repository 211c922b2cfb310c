"""The listening server: shares requests out, drops idle connections, and turns its own bugs into violations."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from typing import Any

from tests.upstream import checks
from tests.upstream.anthropic_wire import AnthropicWire
from tests.upstream.azure_wire import AzureWire
from tests.upstream.control import control
from tests.upstream.dialect import Dialect, Refused
from tests.upstream.gemini_wire import GeminiWire
from tests.upstream.openai import OpenAI
from tests.upstream.pages import page
from tests.upstream.serve import Service
from tests.upstream.state import State
from tests.upstream.wire import Connection, Exchange

DIALECTS: tuple[Dialect, ...] = (OpenAI(), AnthropicWire(), GeminiWire(), AzureWire())
_SHOWN_BUGS = 10  # on stderr; all of them are violations
_LONG_BODY = 65536  # bytes; `early-413` answers longer bodies before they are complete


class Server:
    """One process's worth of fake upstream."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.service = Service(state)
        self.connections: set[Connection] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=4096)
        self._sweeper = loop.create_task(self._sweep(), name="idle connections")
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._sweeper:
            self._sweeper.cancel()
        if self._listener:
            self._listener.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, now or later."""
        path = exchange.path.partition("?")[0]
        for dialect in DIALECTS:
            if dialect.claims(exchange.method, path):
                self.service.serve(exchange, dialect)
                return
        if path.startswith("/_control/"):
            control(exchange, self.service)
        else:
            checks.request(exchange, None, self.state)
            page(exchange, path, self.state)

    def early(self, exchange: Exchange, length: int, start: bytes) -> bool:
        """Refuse a long body before it has come, where that was asked for."""
        limit = self.state.settings.max_body_bytes
        wanted = (limit is not None and length > limit) or (length > _LONG_BODY and b"early-413" in start)
        if wanted:
            exchange.record.path, exchange.record.method, exchange.record.fault = exchange.path, "POST", "413"
            body = OpenAI().error(413, Refused(413, ""), openai=self.state.settings.flavour == "openai")
            exchange.connection.answer_early(exchange, 413, body)
        return wanted

    def broken(self, what: str, exchange: Exchange | None) -> None:
        """An exception that nobody expected is being handled."""
        text = traceback.format_exc()
        if self.state.totals["violations"] < _SHOWN_BUGS:
            print(f"{what}: {text}", file=sys.stderr, flush=True)
        self.state.violation("bug", f"{what}: {text}", exchange.record if exchange else None)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        if isinstance(problem, ConnectionError):
            return
        text = "".join(traceback.format_exception(problem)) if problem else ""
        print(context.get("message"), text, file=sys.stderr, flush=True)
        self.state.violation("bug", f"{context.get('message')} {text}")

    async def _sweep(self) -> None:
        """Close connections that have been idle for `keep_alive` seconds."""
        while True:
            patience = self.state.settings.keep_alive
            await asyncio.sleep(min(0.25, max(0.01, patience / 4)))
            limit = time.monotonic() - patience
            for connection in list(self.connections):
                if connection.current is None and connection.reading is None and connection.idle_since < limit:
                    connection.transport.close()
