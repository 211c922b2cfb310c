"""Random interleavings of clients that crash, against memory and against a real server: counts, and what was exceeded.

    python -m tests.proofs.interleavings [--count N] [--store redis|memory] [--seed N]

The server is the Valkey of the tests, or the one that SLUICEGATE_TEST_REDIS names.

A walk is one interleaving: fifty steps of three clients and their successors, then everything settles down. After every
step no budget may be exceeded by what upstreams could bill, and in the end no more may be stranded than is stated. The
first walk that does not hold is printed with its seed, and ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields
from time import monotonic

from tests.support import budget_memory
from tests.support.budget_memory import MemoryWorld
from tests.support.budget_truth import Truth
from tests.support.budget_world import Server, World, wander
from tests.support.redis import Redis

STEPS = 50


@dataclass
class Counts:
    """What happened in all walks together."""

    walks: int = 0
    granted: int = 0
    refused: int = 0
    crashes: int = 0
    rebuilds: int = 0

    def add(self, world: Truth) -> None:
        """Add a walk."""
        self.walks += 1
        for name in ("granted", "refused", "crashes", "rebuilds"):
            setattr(self, name, getattr(self, name) + getattr(world, name))

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, one.name):,} {one.name}" for one in fields(self))


def redis_walks(server: Server, seeds: range) -> Counts:
    """Walks against a server. Raises AssertionError, naming the seed."""
    counts = Counts()
    for seed in seeds:
        world = World(server, seed)
        try:
            wander(world, STEPS)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        counts.add(world)
    return counts


def memory_walks(seeds: range) -> Counts:
    """The same against memory."""
    counts = Counts()
    for seed in seeds:
        world = MemoryWorld(seed)
        try:
            budget_memory.wander(world, STEPS)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        counts.add(world)
    return counts


def main() -> int:
    """Run them and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--store", choices=["redis", "memory"])
    parser.add_argument("--seed", type=int, default=0, help="the first walk's; a hundred thousand may go in pieces")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.count)
    for store in [given.store] if given.store else ["memory", "redis"]:
        begun, name = monotonic(), store
        try:
            if store == "memory":
                counts = memory_walks(seeds)
            else:
                with Redis() as running:
                    server = Server(str(running.socket))
                    version = server.command(b"INFO", b"server").split(b"redis_version:")[1].split()[0].decode()
                    counts = redis_walks(server, seeds)
                    server.close()
                    name = f"redis {version}"
        except AssertionError as error:
            print(f"{store}: exceeded or stranded too much: {error}")
            return 1
        print(f"{name}: {counts}; overshoot 0 tokens, 0 nano-USD; {monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
