"""Many streams open at once on one worker: what each holds in memory, and whether all of them are served.

    python -m loadtests.held [--streams 9000] [--seconds 40]

Callers come one after the other and stay; each gets a chunk every ten seconds. When all have had their first, memory is
set beside that of before (PSS of all the gateway's processes, and RSS). Then they leave.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from itertools import repeat

import uvloop

from loadtests.alone import Alone, worker
from loadtests.client import Kept, Load, Target
from loadtests.cpu import Memory, descriptors
from loadtests.line import Answer, Leave
from loadtests.workload import chat

MODEL = "answer-30+pace-10000ms"
_EACH = 0.002
"""Seconds between two callers."""


@dataclass(frozen=True, slots=True)
class Held:
    """What was found. Bytes; `sockets` and `files` of the gateway while all streams were open."""

    streams: int
    before: Memory
    during: Memory
    after: Memory
    sockets: int
    faults: list[str]

    def text(self) -> str:
        """For people."""
        pss, rss = self.during.pss - self.before.pss, self.during.rss - self.before.rss
        memory = (
            f"memory: PSS {_mib(self.before.pss)} before, {_mib(self.during.pss)} with all open: "
            f"{pss / self.streams / 1024:.1f} KiB a stream (RSS {rss / self.streams / 1024:.1f} KiB)"
        )
        lines = [
            f"{self.streams} streams open at once, {self.sockets} sockets in the gateway",
            memory,
            f"after they left: PSS {_mib(self.after.pss)}, {self.after.pss / self.before.pss - 1:+.0%} of before",
            f"{len(self.faults)} faults",
        ]
        return "\n".join([*lines, *self.faults[:5]])


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def fault(answer: Answer) -> str | None:
    """What is wrong with a stream that its caller left."""
    if answer.status != 200 or not answer.left or answer.fault is not None:
        return f"status {answer.status}, {answer.events} events, {answer.fault or 'ended by itself'}"
    return None if answer.events else "no event came"


async def hold(gateway: Alone, streams: int, seconds: float) -> Held:
    """Open them, look, let them leave."""
    before = await asyncio.to_thread(gateway.memory)
    stay = streams * _EACH + seconds
    shot = gateway.door.shot(chat(MODEL, stream=True), kind="held", leave=Leave(seconds=stay))
    kept = Kept()
    load = Load(
        Target(gateway.door.host, gateway.door.port), repeat(shot, streams), kept, seconds=2 * stay, spread=_EACH
    )
    running = asyncio.create_task(load.run(streams), name="held: load")
    await asyncio.sleep(streams * _EACH + seconds / 2)
    during = await asyncio.to_thread(gateway.memory)
    sockets = (await asyncio.to_thread(descriptors, gateway.server.pids())).sockets
    await running
    await asyncio.sleep(5)
    faults = kept.faults(fault)
    if len(kept.answers) < streams:
        faults.append(f"only {len(kept.answers)} of {streams} streams were answered")
    return Held(streams, before, during, await asyncio.to_thread(gateway.memory), sockets, faults)


def main(argv: list[str] | None = None) -> int:
    """Print what was found; 1 where a stream failed."""
    parser = argparse.ArgumentParser(prog="held", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--streams", type=int, default=9000, help="how many (9000)")
    parser.add_argument("--seconds", type=float, default=40, help="how long the last one stays (40)")
    args = parser.parse_args(argv)
    with (
        worker([MODEL], {"max_in_flight": args.streams + 100}) as gateway,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(hold(gateway, args.streams, args.seconds))
    print(found.text())
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
