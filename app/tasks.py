"""The one place where background tasks begin: each has a name and an owner, is kept, and is reported when it fails.

Beside the tasks there are a few threads, for what waits for a disk: where cores are short they make way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")
_LATER = 5
"""Niceness added to a thread that makes way: a third of the event loop's share where both want one core."""
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


def make_way(by: int = _LATER) -> None:
    """Have the thread that calls this, and processes that it starts, wait rather than take the core from others.

    `by` is added to its niceness. On Linux only, where a thread has one of its own (`setpriority(2)`, "C library/kernel
    differences").
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + by)


class Aside:
    """A thread of its own for work that no request waits for: what is begun ends before the next begins."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name, make_way)

    async def run(self, work: Callable[_P, _T], *of: _P.args, **by: _P.kwargs) -> _T:
        """What the work comes to. Being cancelled does not end it."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *of, **by))


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
