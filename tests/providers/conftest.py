"""Tests of the upstream client run on asyncio's own loop and on uvloop, and leave no socket and no task behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio
import uvloop

from app.providers.transport import HttpTransport


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both kinds of loop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def open_sockets() -> set[str]:
    """The TCP sockets of this process, by inode (Linux only). A loop's own socket pairs are none."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            link = str(entry.readlink())
            if link.startswith("socket:") and is_tcp(int(entry.name)):
                found.add(link)
    return found


def is_tcp(descriptor: int) -> bool:
    """Whether a descriptor that is a socket belongs to TCP."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.family in {socket.AF_INET, socket.AF_INET6}


async def settled(before: set[str]) -> set[str]:
    """Sockets that are still open although a second has passed."""
    for _ in range(200):
        if not open_sockets() - before:
            break
        await asyncio.sleep(0.005)
    return open_sockets() - before


@pytest_asyncio.fixture
async def clean() -> AsyncIterator[None]:
    """Fails the test if it leaves sockets or tasks behind."""
    before = open_sockets()
    yield
    assert not await settled(before)
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@pytest_asyncio.fixture
async def transport(clean: None) -> AsyncIterator[HttpTransport]:
    """A transport of the test's own loop."""
    client = HttpTransport()
    yield client
    await client.aclose()
    assert client.connections() == {}
