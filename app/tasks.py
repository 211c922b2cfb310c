"""The one place where background tasks begin: each has a name and an owner, is kept, and is reported when it fails.

Beside the tasks there are a few threads, for what waits for a disk: where cores are short they make way.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import platform
import struct
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
_SLICE_NS = 100_000
"""The kernel takes no less."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's number, for which Python and most C libraries have no name."""
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period; the runtime is the slice."""
_KEEP_POLICY = 0x08
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


def make_way() -> None:
    """Have the thread that calls this wait rather than take the core from others: it becomes nicer.

    On Linux only, where a thread has a niceness of its own (`setpriority(2)`, "C library/kernel differences").
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _LATER)
        come_as_usual()


def come_soon() -> None:
    """Have the thread that calls this run as soon as it wakes, though another has not used up its slice of the core.

    Linux lets those who run end their slices, of 3 ms or less, unless one with a shorter slice wakes (since 6.12). This
    asks for the shortest; the thread's share of the core stays what it was. Elsewhere nothing changes.
    """
    _ask_for_slice(_SLICE_NS)


def come_as_usual() -> None:
    """Have the thread that calls this not come soon, although the one that began it, or its process, does."""
    _ask_for_slice(0)


def _ask_for_slice(nanoseconds: int) -> None:
    """Zero asks for the usual one. What the system refuses is let be (`sched_setattr(2)`)."""
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    asked = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, _KEEP_POLICY, nice, 0, nanoseconds, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, asked, 0)


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
