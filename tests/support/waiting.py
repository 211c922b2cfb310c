"""Waiting for something that another task, thread or process does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(check: Callable[[], bool], seconds: float = 10.0) -> None:
    """Come back as soon as `check` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 # there is no event: the check looks at somebody else's state
            await asyncio.sleep(0.005)
