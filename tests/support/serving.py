"""Serves an ASGI application with the gateway's own protocol, on a free port, in a thread with a uvloop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
import uvloop
from uvicorn.server import ServerState

from app.api.server import Bounds, Protocol
from app.outbox import Outbox
from app.vigil import Vigil

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Serving:
    """A context manager. `url` is where it listens; `state` is the server's: open connections and running tasks.

    `outbox` is where its answers go.
    """

    outbox: Outbox

    def __init__(self, application: Application, bounds: Bounds | None = None) -> None:
        self._application = application
        self._bounds = bounds or Bounds()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), name="serving")
        self.state = ServerState()
        self.url = ""

    @property
    def connections(self) -> list[Protocol]:
        """Those that are open."""
        return cast("list[Protocol]", list(self.state.connections))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        config = uvicorn.Config(self._application, interface="asgi3", ws="none", lifespan="off", log_config=None)
        config.load()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.outbox = Outbox(self._loop)
        own = {"bounds": self._bounds, "outbox": self.outbox, "vigil": Vigil(self._loop)}
        protocol = type("Bounded", (Protocol,), own)
        server = await self._loop.create_server(lambda: protocol(config, self.state, {}, self._loop), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for connection in list(self.state.connections):
            connection.shutdown()
        for task in list(self.state.tasks):
            task.cancel()
        await asyncio.sleep(0.01)
