"""What a worker knows of itself is what the operating system says."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

import pytest

from app.cells import Cells
from app.exchange import Endpoint, Outbound, Timeouts
from app.process import INTERVAL, watch_process
from app.providers.transport import HttpTransport
from app.telemetry import (
    CPU_SECONDS,
    DROPPED,
    LOOP_LAG,
    OPEN_FDS,
    RESIDENT_MEMORY,
    TASKS,
    UPSTREAM_CONNECTIONS,
    Telemetry,
)
from tests.support.processes import resident
from tests.support.upstream import Upstream


class Watched:
    """A watched process: its metrics, and the means to change them."""

    def __init__(self, cells: Cells, transport: HttpTransport) -> None:
        self.cells, self.transport = cells, transport

    def slots(self, metric: str, *labels: str) -> tuple[float, ...]:
        """All that a series holds."""
        return next(
            values for series, values in self.cells.read() if (series.metric, series.labels) == (metric, labels)
        )

    def value(self, metric: str, *labels: str) -> float:
        """A gauge or counter."""
        return self.slots(metric, *labels)[0]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    """This process, watched, after its first look."""
    cells, transport = Cells(), HttpTransport()
    task = asyncio.create_task(watch_process(Telemetry(cells), transport, cells))
    await asyncio.sleep(0)
    yield Watched(cells, transport)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await transport.aclose()


async def look_again() -> None:
    """Wait for the next look."""
    await asyncio.sleep(INTERVAL + 0.1)


async def test_memory_files_and_tasks(watched: Watched) -> None:
    """At once, and again as they change."""
    assert watched.value(RESIDENT_MEMORY.name) == pytest.approx(resident(os.getpid()), rel=0.1)
    assert watched.value(TASKS.name) == len(asyncio.all_tasks())
    files = watched.value(OPEN_FDS.name)
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.socket())
        await look_again()
        assert watched.value(OPEN_FDS.name) - files in range(18, 23)


async def test_cpu_time_and_a_loop_that_is_late(watched: Watched) -> None:
    """What was burnt is counted; a worker that is busy with one thing comes late to the next."""
    burnt = watched.value(CPU_SECONDS.name)
    until = time.process_time() + 1.5 * INTERVAL
    while time.process_time() < until:
        pass
    await look_again()
    assert watched.value(CPU_SECONDS.name) - burnt >= 1.4 * INTERVAL
    late = watched.slots(LOOP_LAG.name)
    assert late[-1] >= 0.4 * INTERVAL


async def test_series_that_found_no_room(watched: Watched) -> None:
    """Counted as dropped, each once."""
    watched.cells.refused += 3
    await look_again()
    assert watched.value(DROPPED.name, "metric_series") == 3
    watched.cells.refused += 1
    await look_again()
    assert watched.value(DROPPED.name, "metric_series") == 4


async def test_connections_to_upstreams(watched: Watched, upstream: Upstream) -> None:
    """Idle ones and busy ones, apart."""
    endpoint = Endpoint("http", upstream.host, upstream.port, "")
    deadline = asyncio.get_running_loop().time() + 5
    request = Outbound("GET", "/health", (), b"", stream=False)
    replies = [await watched.transport.send(endpoint, request, Timeouts(), deadline) for _ in range(3)]
    for reply in replies[:2]:
        await reply.read_all(4096)
        reply.close()
    await look_again()
    assert watched.value(UPSTREAM_CONNECTIONS.name, "idle") == 2
    assert watched.value(UPSTREAM_CONNECTIONS.name, "busy") == 1
    replies[2].close()
