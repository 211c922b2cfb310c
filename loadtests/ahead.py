"""Short requests beside long ones: what a prompt of 100 000 tokens each second does to those behind it.

    python -m loadtests.ahead [--seconds 20] [--connections 4] [--tokens 100000]

The same short requests are asked without and with the long ones, twice in turns, on one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass, field
from itertools import repeat

import uvloop

from loadtests.alone import Alone, worker
from loadtests.client import Kept, Load, Paced, Target
from loadtests.stats import quantile
from loadtests.workload import WHOLE_MODEL, chat, check_whole

_TURNS = 2
_WORD = "river "


@dataclass(slots=True)
class Found:
    """Seconds of short answers, without and with long prompts beside them; what went wrong."""

    without: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        rows = (("alone", self.without), ("beside long prompts", self.beside), ("the long ones", self.long))
        lines = [f"{name}: {len(all_)} answers, p50 {_ms(all_, 0.5)}, p99 {_ms(all_, 0.99)}" for name, all_ in rows]
        ratio = quantile(self.beside, 0.99) / quantile(self.without, 0.99)
        return "\n".join([*lines, f"p99 of short requests: {ratio:.2f} times that of alone", *self.faults[:5]])


def _ms(seconds: list[float], share: float) -> str:
    return f"{quantile(seconds, share) * 1e3:.2f} ms"


async def short(gateway: Alone, seconds: float, connections: int, found: Found) -> list[float]:
    """Short requests for so long; their times."""
    kept = Kept()
    shot = gateway.door.shot(chat(WHOLE_MODEL, stream=False), kind="short")
    target = Target(gateway.door.host, gateway.door.port)
    await Load(target, repeat(shot), kept, seconds=seconds).run(connections)
    found.faults += kept.faults(check_whole)
    return [answer.seconds for answer in kept.answers]


async def long(gateway: Alone, seconds: float, tokens: int, found: Found) -> None:
    """A long prompt each second."""
    kept = Kept()
    shot = gateway.door.shot(chat(WHOLE_MODEL, stream=False, prompt=_WORD * tokens), kind="long")
    target = Target(gateway.door.host, gateway.door.port)
    await Paced(target, repeat(shot), kept, seconds=seconds, rate=1.0).run(4)
    found.faults += kept.faults(check_whole)
    found.long += [answer.seconds for answer in kept.answers]


async def compare(gateway: Alone, args: argparse.Namespace) -> Found:
    """In turns, so that what drifts drifts for both."""
    found = Found()
    await short(gateway, 1.0, args.connections, found)
    for _ in range(_TURNS):
        found.without += await short(gateway, args.seconds, args.connections, found)
        beside, _ = await asyncio.gather(
            short(gateway, args.seconds, args.connections, found), long(gateway, args.seconds, args.tokens, found)
        )
        found.beside += beside
    return found


def main(argv: list[str] | None = None) -> int:
    """Print what was found; 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(prog="ahead", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=20, help="each of four phases (20)")
    parser.add_argument("--connections", type=int, default=4, help="callers of short requests (4)")
    parser.add_argument("--tokens", type=int, default=100_000, help="words of a long prompt (100000)")
    args = parser.parse_args(argv)
    with worker([WHOLE_MODEL]) as gateway, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(compare(gateway, args))
    print(found.text())
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
