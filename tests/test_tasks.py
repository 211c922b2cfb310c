"""Background tasks have names and an owner, are kept, reported when they fail, and end with their owner."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import platform
import struct
import sys
import threading
import time

import pytest

from app.tasks import Aside, TaskGroup, come_soon, make_way, together


async def test_a_task_is_named_after_its_owner() -> None:
    """So that a stack dump says whose it is."""
    group = TaskGroup("owner")
    task = group.spawn("work", asyncio.sleep(20))
    assert (task.get_name(), len(group)) == ("owner:work", 1)
    await group.aclose()


async def test_a_task_is_kept_until_it_ends() -> None:
    """The event loop itself holds tasks weakly only."""
    group, going = TaskGroup("owner"), asyncio.Event()

    async def work() -> None:
        await asyncio.get_running_loop().create_future() if not going.is_set() else None

    group.spawn("waits", work())
    await asyncio.sleep(0)
    gc.collect()
    assert len(group) == 1
    going.set()
    await group.spawn("ends", work())
    assert len(group) == 1
    await group.aclose()
    assert len(group) == 0


async def test_closing_waits_for_the_end() -> None:
    """What a task does on its way out is done when `aclose` returns."""
    group, log = TaskGroup("owner"), list[str]()

    async def careful(name: str) -> None:
        try:
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(0.01)
            log.append(name)

    for name in "ab":
        group.spawn(name, careful(name))
    await asyncio.sleep(0)
    await group.aclose()
    assert (sorted(log), len(group)) == (["a", "b"], 0)


async def test_closing_an_idle_group() -> None:
    """Nothing to wait for; twice is no more."""
    group = TaskGroup("owner")
    await group.aclose()
    await group.aclose()


async def test_a_failure_is_reported_and_ends_only_its_task(caplog: pytest.LogCaptureFixture) -> None:
    """With name and stack; the others run on."""
    group = TaskGroup("owner")

    async def fail() -> None:
        raise RuntimeError("on purpose")

    other = group.spawn("other", asyncio.sleep(20))
    with pytest.raises(RuntimeError, match="on purpose"):
        await group.spawn("work", fail())
    (record,) = caplog.records
    assert (record.levelno, record.__dict__["task"]) == (logging.ERROR, "owner:work")
    assert record.exc_info
    assert (other.done(), len(group)) == (False, 1)
    await group.aclose()


async def test_a_failure_on_the_way_out_is_reported_too(caplog: pytest.LogCaptureFixture) -> None:
    """And does not stop the others from being closed."""
    group = TaskGroup("owner")

    async def stubborn() -> None:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            raise RuntimeError("while closing") from None

    tasks = [group.spawn("stubborn", stubborn()), group.spawn("plain", asyncio.sleep(20))]
    await asyncio.sleep(0)
    await group.aclose()
    assert [task.done() for task in tasks] == [True, True]
    assert "background task failed" in caplog.text


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of it."""
    group = TaskGroup("owner")
    task = group.spawn("work", asyncio.sleep(20))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert caplog.text == ""


async def test_what_is_done_together_comes_back_in_order() -> None:
    """Whoever is done first."""

    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await together(after(one) for one in (0.02, 0.0, 0.01)) == [0.02, 0.0, 0.01]
    assert await together(after(one) for one in list[float]()) == []


@pytest.mark.parametrize("fails", [True, False])
async def test_what_is_done_together_ends_together(*, fails: bool) -> None:
    """By an error of one, or because nobody waits any more: none goes on."""
    ended = list[str]()

    async def long() -> None:
        try:
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(0.01)
            ended.append("long")

    async def short() -> None:
        await asyncio.sleep(0.01)
        if fails:
            raise KeyError

    with pytest.raises(KeyError if fails else TimeoutError):
        async with asyncio.timeout(0.05):
            await together([long(), short(), long()])
    assert ended == ["long", "long"]


def test_a_thread_makes_way_alone() -> None:
    """The event loop's own keeps its share."""
    found: list[int] = []

    def work() -> None:
        make_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [min(mine + 5, 19) if sys.platform == "linux" else mine]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def slice_of(thread: int) -> int:
    """The slice of the core that a thread gets at a time, in ns, as `sched_getattr(2)` tells; 0 where it tells none."""
    number = {"x86_64": 315, "aarch64": 275}.get(platform.machine())
    told = ctypes.create_string_buffer(48)
    if sys.platform != "linux" or number is None or ctypes.CDLL(None).syscall(number, thread, told, 48, 0):
        return 0
    return int(struct.unpack("=IIQiIQQQ", told.raw)[5])


def test_a_thread_that_comes_soon_has_a_short_slice_and_those_that_make_way_a_usual_one() -> None:
    """A kernel that knows no slices of a thread's own tells zero, and nothing else changes anywhere."""
    found: list[int] = []

    def later() -> None:
        make_way()
        found.append(slice_of(threading.get_native_id()))

    def soon() -> None:
        before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        found.append(slice_of(threading.get_native_id()))
        come_soon()
        found.append(slice_of(threading.get_native_id()))
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
        begun = threading.Thread(target=later)
        begun.start()
        begun.join()

    thread = threading.Thread(target=soon)
    thread.start()
    thread.join()
    usual, short, again = found
    assert again == usual == slice_of(threading.get_native_id())
    assert short == (100_000 if usual else 0)


async def test_what_is_begun_aside_ends_before_the_next_begins() -> None:
    """Also where nobody waits for it any more; errors come back."""
    aside, began, order = Aside("test"), threading.Event(), []

    def slow(name: str) -> str:
        began.set()
        time.sleep(0.05)
        order.append(name)
        return name

    first = asyncio.create_task(aside.run(slow, "first"))
    await asyncio.to_thread(began.wait)
    first.cancel()
    assert await aside.run(slow, name="second") == "second"
    assert order == ["first", "second"]
    with pytest.raises(ValueError, match="invalid literal"):
        await aside.run(int, "none")
