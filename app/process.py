"""A worker as a process: memory, descriptors, tasks, connections, looked up off the request path; its garbage."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from time import process_time

from app.cells import Cells
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

INTERVAL = 1.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_FDS = Path("/proc/self/fd")
_HAS_PROC = _STATM.exists()


async def watch_process(telemetry: Telemetry, transport: HttpTransport, cells: Cells) -> None:
    """Refresh the process' gauges every second until cancelled. Memory and descriptors need Linux' /proc."""
    dropped = telemetry.counter(DROPPED, "metric_series")
    cpu, lag = telemetry.counter(CPU_SECONDS), telemetry.histogram(LOOP_LAG)
    time = asyncio.get_running_loop().time
    refused, burnt = 0, 0.0
    while True:
        counts = transport.connections().values()
        idle = sum(idle for _, idle in counts)
        telemetry.gauge(UPSTREAM_CONNECTIONS, "idle").set(idle)
        telemetry.gauge(UPSTREAM_CONNECTIONS, "busy").set(sum(total for total, _ in counts) - idle)
        telemetry.gauge(TASKS).set(len(asyncio.all_tasks()))
        if _HAS_PROC:
            telemetry.gauge(RESIDENT_MEMORY).set(_resident_bytes())
            telemetry.gauge(OPEN_FDS).set(_open_files())
        cells.flush()
        dropped.inc(cells.refused - refused)
        refused = cells.refused
        used = process_time()
        cpu.inc(used - burnt)
        burnt = used
        due = time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        lag.observe(max(0.0, time() - due))


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * _PAGE


def _open_files() -> int:
    return sum(1 for _ in _FDS.iterdir())


def spare_collections() -> None:
    """What start-up made stays: look for garbage among what came since, and seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 5)
