"""The one place where background tasks begin: each has a name and an owner, is kept, and is reported when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger("sluicegate")


class TaskGroup:
    """Tasks of one owner. `spawn` keeps a strong reference; `aclose` cancels and awaits whatever is still running."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start `work` as the task `owner:name`."""
        task = asyncio.create_task(work, name=f"{self._owner}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        """Cancel what runs and wait until it has ended."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background task failed", extra={"task": task.get_name()}, exc_info=error)


async def together(works: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all of them come to, done at the same time. The first error is raised once the others were ended, too."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
