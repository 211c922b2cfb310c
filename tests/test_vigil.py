"""Staying awake: for as long as was asked, after the last thing that was heard, and not where many are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest

from app.vigil import Vigil


class Turns:
    """As much of an event loop as is needed: what is called soon is called when it is told to turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.now = 0.0
        self.in_flight = 1

    def call_soon(self, callback: Callable[[], None], context: object) -> None:  # asyncio's name
        """As asyncio's."""
        self.soon.append(callback)

    def vigil(self, seconds: float = 1.0, most: int = 2) -> Vigil:
        """One on this loop."""
        loop = cast("asyncio.AbstractEventLoop", self)
        return Vigil(loop, seconds, most, lambda: self.in_flight, lambda: self.now)

    def turn(self, now: float) -> bool:
        """Whether it looks on after a turn at this time."""
        self.now = now
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()
        return bool(self.soon)


def test_it_looks_until_nothing_was_heard_for_so_long() -> None:
    """Each thing that is heard begins the time anew; the next one after that begins another vigil."""
    turns = Turns()
    vigil = turns.vigil()
    assert not turns.turn(0.0)
    vigil.heard()
    assert turns.turn(0.5)
    vigil.heard()
    vigil.heard()
    assert len(turns.soon) == 1
    assert turns.turn(0.6)
    assert turns.turn(1.5)
    assert not turns.turn(1.6)
    turns.now = 5.0
    vigil.heard()
    assert turns.turn(5.9)


def test_without_a_time_it_never_looks() -> None:
    """The default."""
    turns = Turns()
    turns.vigil(seconds=0).heard()
    assert not turns.soon


def test_it_does_not_look_where_many_are_served() -> None:
    """It ends when there are too many, and begins with what is heard once there are fewer."""
    turns = Turns()
    vigil = turns.vigil(most=2)
    turns.in_flight = 3
    vigil.heard()
    assert not turns.soon
    turns.in_flight = 2
    vigil.heard()
    assert turns.turn(0.1)
    turns.in_flight = 3
    assert not turns.turn(0.2)
    turns.in_flight = 1
    vigil.heard()
    assert turns.turn(0.3)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
async def test_a_real_loop_stays_awake(seconds: float) -> None:
    """For so long it takes the processor, and no longer."""
    vigil = Vigil(asyncio.get_running_loop(), seconds, 1, lambda: 0)
    vigil.heard()
    before = time.thread_time()
    await asyncio.sleep(0.3)
    used = time.thread_time() - before
    assert used < 0.29
    assert (used > 0.02) == bool(seconds)
    before = time.thread_time()
    await asyncio.sleep(0.2)
    assert time.thread_time() - before < 0.02
