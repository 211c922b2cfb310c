"""What processes cost, from the kernel's own accounting. Linux only.

CPU time is read from each process's CPU clock (`clock_gettime` on the clock id of a pid, see
`clock_getcpuclockid(3)`): nanoseconds, user and system, of all its threads, those that have ended included.
Children that came and went are in their parent's `cutime` and `cstime` (`proc(5)`), in ticks of 10 ms.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from `state` on (`proc(5)` field 3 is index 0); the name before may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """A process and all its living descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes so far, and of their children that have ended."""
    total = 0.0
    for pid in pids:
        fields = _stat(pid)
        total += time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
        total += (int(fields[13]) + int(fields[14])) / _TICK
    return total


def thread_seconds(pid: int, thread: int) -> float:
    """User and system time of one thread of a process, from its `schedstat` (nanoseconds)."""
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `pss` counts shared pages in proportion, so it may be added up over processes; `rss` counts them whole."""

    rss: int
    pss: int


def _kilobytes(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def memory(pids: list[int]) -> Memory:
    """What these processes hold in memory now, added up."""
    rss = sum(_kilobytes(Path(f"/proc/{pid}/status"), "VmRSS:") for pid in pids)
    return Memory(rss, sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids))


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open descriptors of processes; `sockets` are among `files`."""

    files: int
    sockets: int


def descriptors(pids: list[int]) -> Descriptors:
    """What these processes hold open now."""
    links: list[str] = []
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                links.append(str(entry.readlink()))
            except FileNotFoundError:
                continue  # closed meanwhile
    return Descriptors(len(links), sum(link.startswith("socket:") for link in links))


@dataclass(frozen=True, slots=True)
class Machine:
    """Seconds over all cores since boot: `busy` with any work, `stolen` by the host for other guests."""

    busy: float
    stolen: float


def machine() -> Machine:
    """The machine's own counters; the difference of two tells what ran besides the processes one knows."""
    fields = [int(value) / _TICK for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return Machine(user + nice + system + irq + softirq, steal)


def describe() -> dict[str, str | int]:
    """The class of this machine: cores, processor, kernel; nothing that names it."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cores": os.cpu_count() or 0, "cpu": model, "kernel": os.uname().release.split("-")[0]}
