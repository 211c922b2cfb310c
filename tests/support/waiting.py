"""Waiting for something that another task, thread or process does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic


async def until(check: Callable[[], bool], seconds: float = 10.0) -> None:
    """Come back as soon as `check` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 # there is no event: the check looks at somebody else's state
            await asyncio.sleep(0.005)


async def polled(check: Callable[[], bool], seconds: float, what: str) -> float:
    """The same of a check that blocks: it is asked in a thread. How long it took; raises TimeoutError with `what`."""
    begun = monotonic()
    while not await asyncio.to_thread(check):
        if monotonic() - begun > seconds:
            raise TimeoutError(what)
        await asyncio.sleep(0.1)
    return monotonic() - begun
