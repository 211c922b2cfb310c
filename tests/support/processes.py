"""What Linux tells about a process, by its id."""

from __future__ import annotations

import re
import time
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE) is None
    except OSError:
        return False


def resident(pid: int) -> int:
    """Its resident memory in bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def ended(pid: int, *, seconds: float = 10) -> bool:
    """Whether it ends within so many seconds."""
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)
