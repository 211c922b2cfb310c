"""Cores that wait without halting: what a machine's latency is without the time that its cores take to wake up.

An idle core halts. On a virtual machine the next wake-up is then the host's work, tens of microseconds that come to
every hop of every gateway. `/dev/cpu_dma_latency` is Linux's switch for those who measure latency, `cyclictest` among
them: while it is held open with 0, idle cores poll (Linux, `Documentation/power/pm_qos_interface.rst`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SWITCH = Path("/dev/cpu_dma_latency")


@contextmanager
def awake() -> Iterator[str | None]:
    """Hold the switch; gives None, or why it cannot be held (it takes root)."""
    try:
        switch = SWITCH.open("wb", buffering=0)
    except OSError as error:
        yield f"{SWITCH}: {error.strerror}"
        return
    with switch:
        switch.write(struct.pack("i", 0))
        yield None
