"""TLS towards upstreams: whom we trust, and what we offer to speak."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable


class Trust:
    """Client contexts, made when first needed, in a thread: reading the trust store takes tens of milliseconds.

    `make` gives a context with the trust wanted; by default the system's, with host names checked.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self._make = make
        self._contexts: dict[bool, ssl.SSLContext] = {}

    async def context(self, *, http2: bool) -> ssl.SSLContext:
        """The context that offers HTTP/1.1, and before it HTTP/2 if wanted."""
        context = self._contexts.get(http2)
        if context is None:
            context = self._contexts[http2] = await asyncio.to_thread(self._make)
            context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        return context
